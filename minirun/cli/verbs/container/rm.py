"""`rm`: containers that are no longer wanted."""

from __future__ import annotations

from minirun.cli.grammar import Verb, switch
from minirun.cli.verbs.container.several import act_on_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call


def rm(call: Call) -> int:
    """Remove one or more containers."""
    from minirun.engine.container import ending

    force, volumes = call.switch("force"), call.switch("volumes")
    return act_on_all(
        call,
        lambda layout, records: ending.remove(layout, records, force=force, anonymous_volumes=volumes),
        lenient=force,
    )


VERBS = {
    "rm": Verb(
        rm,
        (switch("-f/--force", "Kill what runs."), switch("-v/--volumes", "Remove its anonymous volumes, too.")),
        "CONTAINER...",
        examples=(("minirun ps -aq | xargs minirun rm -f", "remove all containers"),),
    )
}
