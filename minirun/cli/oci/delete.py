"""The verb `delete` of `minirun-oci`."""

from __future__ import annotations

from minirun.cli.grammar import Verb, switch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.oci.call import Call


def delete(call: Call) -> None:
    """Remove what is left of a container; with --force kill it first, and ignore it if there is none."""
    from minirun.runtime import lifecycle

    force = call.switch("force")
    if not call.switch("regex"):
        lifecycle.delete(call.root, call.container_id(), force=force)
        return
    from minirun.runtime.compat import state_output

    for container_id in state_output.matching(call.root, call.arguments[0]):
        lifecycle.delete(call.root, container_id, force=force)


VERBS = {
    "delete": Verb(
        delete,
        (
            switch("--force/-f", "Kill first; do not mind if it is gone."),
            switch("--regex", "Delete all containers whose id the regular expression ID matches."),
        ),
        "ID",
    ),
}
