"""The verb `start` of `minirun-oci`."""

from __future__ import annotations

from minirun.cli.grammar import Verb
from minirun.cli.oci.call import notify_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.oci.call import Call


def start(call: Call) -> None:
    """Let a created container execute its command."""
    from minirun.runtime import lifecycle

    ready = lifecycle.start(call.root, call.container_id(), notify_socket())
    if ready:
        ready.wait(lifecycle.load(call.root, call.container_id())[0].pid)


VERBS = {
    "start": Verb(start, (), "ID"),
}
