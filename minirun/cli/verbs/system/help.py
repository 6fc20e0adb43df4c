"""`help`: another way to what --help shows."""

from __future__ import annotations

from minirun.cli.grammar import Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call


def help_(call: Call) -> None:
    """Show the help of a COMMAND, as its --help does."""
    from minirun.cli.help.help_text import help_text
    from minirun.cli.help.mistakes import unknown_command
    from minirun.cli.verbs.table import MINIRUN, Group

    path = "minirun"
    place: Group | Verb = MINIRUN
    for word in call.arguments:
        if not isinstance(place, Group):
            break
        found = place.find(word)
        if found is None:
            raise unknown_command(path, word, place.verbs)
        path, place = f"{path} {word}", found
    print(help_text(path, place))


VERBS = {"help": Verb(help_, (), "[COMMAND...]")}
