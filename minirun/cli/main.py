"""`minirun`: from words to a call of a verb, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import sys

from minirun import __version__
from minirun.cli import interrupts
from minirun.cli.call import Call, Settings, with_common
from minirun.cli.errors import code_of
from minirun.cli.grammar import FlagError, parse
from minirun.cli.verbs.table import MINIRUN, Group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from minirun.cli.grammar import Verb


def main(words: Sequence[str]) -> int:
    """Carry out a command line and return Docker's exit code: 125, 126, 127, the command's own, or 1."""
    settings = Settings()
    try:
        code = _run(words, settings)
        sys.stdout.flush()
        return code
    except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - the one place where errors end
        places = (settings.layout.root, settings.layout.state)
        return code_of(error, settings.failure_code, debug=settings.debug, places=places)
    finally:
        settings.close()


def _run(words: Sequence[str], settings: Settings) -> int:
    here: Group | Verb = MINIRUN
    path, rest = "minirun", list(words)
    while True:
        flags = with_common(here.flags)
        try:
            parsed = parse(rest, flags, interspersed=not isinstance(here, Group) and here.interspersed)
        except FlagError as error:
            from minirun.cli.help import mistakes

            raise mistakes.with_hint(error, path, here, words) from None
        if here is MINIRUN:
            settings.place(parsed)
        settings.take(parsed)
        if here is MINIRUN and parsed.switch("version"):
            print(f"minirun version {__version__}")
            return 0
        if parsed.switch("help") or (isinstance(here, Group) and not rest):
            from minirun.cli.help.help_text import help_text

            print(help_text(path, here))
            return 0
        if not isinstance(here, Group):
            return _call(here, Call(parsed.values, parsed.arguments, path, settings), words)
        name, *rest = parsed.arguments or ("",)
        found = here.find(name)
        if found is None:
            from minirun.cli.help import mistakes

            raise mistakes.unknown_command(path, name, here.verbs)
        path, here = f"{path} {name}", found


def _call(verb: Verb, call: Call, words: Sequence[str]) -> int:
    if not verb.takes(len(call.arguments)):
        from minirun.cli.help import mistakes

        raise mistakes.wrong_count(verb, call.path, words)
    call.settings.failure_code = verb.failure_code
    interrupts.catch()
    return verb.function(call) or 0
