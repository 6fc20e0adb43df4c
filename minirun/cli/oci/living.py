"""The verbs of `minirun-oci` for a container that is made: start, kill, pause, resume, delete."""

from __future__ import annotations

from minirun.cli.grammar import Verb, switch
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


def kill(call: Call) -> None:
    """Send a signal (default TERM) to a container's first process, or with --all to every process."""
    from minirun.model.signals import parse_signal
    from minirun.runtime import lifecycle

    word = call.arguments[1] if len(call.arguments) > 1 else "TERM"
    number = 0 if word == "0" else parse_signal(word)  # 0 only asks whether it runs
    if call.switch("all"):
        lifecycle.kill_all(call.root, call.container_id(), number)
    else:
        lifecycle.kill(call.root, call.container_id(), number)


def delete(call: Call) -> None:
    """Remove what is left of a container; with --force kill it first, and do not mind if it is gone."""
    from minirun.runtime import lifecycle

    force = call.switch("force")
    if not call.switch("regex"):
        lifecycle.delete(call.root, call.container_id(), force=force)
        return
    from minirun.runtime.compat import state_output

    for container_id in state_output.matching(call.root, call.arguments[0]):
        lifecycle.delete(call.root, container_id, force=force)


def pause(call: Call) -> None:
    """Freeze every process of a container."""
    from minirun.runtime import lifecycle

    lifecycle.pause(call.root, call.container_id())


def resume(call: Call) -> None:
    """Let a paused container go on."""
    from minirun.runtime import lifecycle

    lifecycle.resume(call.root, call.container_id())


VERBS = {
    "start": Verb(start, (), "ID"),
    "kill": Verb(kill, (switch("--all/-a", "Every process of the container."),), "ID [SIGNAL]"),
    "pause": Verb(pause, (), "ID"),
    "resume": Verb(resume, (), "ID"),
    "delete": Verb(
        delete,
        (
            switch("--force/-f", "Kill first; do not mind if it is gone."),
            switch("--regex", "Delete all containers whose id the regular expression ID matches."),
        ),
        "ID",
    ),
}
