"""`volume rm`."""

from __future__ import annotations

from minirun.cli.grammar import Verb, switch
from minirun.cli.streams import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call


def rm(call: Call) -> int:
    """Remove volumes with all that is in them. One that a container has stays, whether that runs or not."""
    from minirun.engine.volume import removing

    layout = call.swept_layout()

    def remove(name: str) -> None:
        removing.remove(layout, name, force=call.switch("force"))
        say(name)

    return call.for_each(remove)


VERBS = {
    "rm": Verb(
        rm,
        (switch("-f/--force", "One that is missing is no failure."),),
        "VOLUME...",
        summary="Remove volumes that no container has",
    )
}
