"""What verbs that take several containers have in common."""

from __future__ import annotations

from minirun.cli.streams import say
from minirun.errors import MinirunError, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minirun.cli.call import Call
    from minirun.model.container import ContainerRecord
    from minirun.model.layout import Layout


def act_on_all(
    call: Call,
    act: Callable[[Layout, list[ContainerRecord]], dict[str, MinirunError]],
    then: Callable[[Layout, ContainerRecord], object] = lambda *_: None,
    *,
    lenient: bool = False,
) -> int:
    """Do `act` with all containers at once, then what comes `then` with each, and print its name as it was given.

    Errors come in the order of the names, too. With `lenient` a missing container is no failure. Returns the exit
    code.
    """
    from minirun.engine.container import records

    layout = call.swept_layout()
    found: dict[str, ContainerRecord | MinirunError] = {}
    for name in call.arguments:
        try:
            found[name] = records.find_any(layout, name)
        except MinirunError as error:
            found[name] = error
    known = {each.id: each for each in found.values() if not isinstance(each, MinirunError)}
    failures = act(layout, list(known.values()))

    def finish(name: str) -> None:
        each = found[name]
        if isinstance(each, MinirunError):
            if not lenient:
                raise each
            tell(f"minirun: {each.message}")  # it should be gone, and it is
            return
        if each.id in failures:
            raise failures[each.id]
        then(layout, each)
        say(name)

    return call.for_each(finish)


def act_on_each(call: Call, act: Callable[[Layout, ContainerRecord], object]) -> int:
    """Do `act` with each container and print its name as it was given. Returns the exit code."""
    from minirun.engine.container import records

    layout = call.swept_layout()

    def find_and_act(name: str) -> None:
        act(layout, records.find(layout, name))
        say(name)

    return call.for_each(find_and_act)
