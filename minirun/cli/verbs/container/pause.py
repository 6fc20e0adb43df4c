"""`pause` and `unpause`."""

from __future__ import annotations

from minirun.cli.grammar import Verb
from minirun.cli.verbs.container.several import act_on_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call


def pause(call: Call) -> int:
    """Freeze all processes of one or more containers."""
    from minirun.engine.container import running

    return act_on_each(call, running.pause)


def unpause(call: Call) -> int:
    """Let the processes of one or more paused containers go on."""
    from minirun.engine.container import running

    return act_on_each(call, running.unpause)


VERBS = {"pause": Verb(pause, (), "CONTAINER..."), "unpause": Verb(unpause, (), "CONTAINER...")}
