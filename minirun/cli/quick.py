"""`minirun run` without click, when its command line is in order.

Importing click takes 40 ms, as long as everything else that a `run` does. So the tables of options that click's
commands are made of are read here first, by the same grammar (pflag's, as Docker's users type it). What is not
understood, help and mistakes among it, is left to click, which knows how to explain it.
"""

from __future__ import annotations

import os
import sys

from minirun.cli.errors import code_of
from minirun.cli.flags import FALSE, TRUE
from minirun.cli.running import DEFAULTS, LISTS, NUMBERS, RUN_SWITCHES, RUN_TEXTS, SWITCHES, TEXTS, run_container
from minirun.engine.request.options import NOT_BUILT
from minirun.model.layout import DEFAULT_ROOT, DEFAULT_STATE, Layout
from minirun.storage.privacy import close_to_others

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(words: list[str]) -> int | None:
    """Do what `minirun run` with these words means and return the exit code; None if click has to look at it."""
    if os.geteuid() != 0:
        return None
    read = read_command_line(words)
    if read is None:
        return None
    root, state = (
        os.path.abspath(os.environ.get(name) or default)
        for name, default in (("MINIRUN_ROOT", DEFAULT_ROOT), ("MINIRUN_STATE", DEFAULT_STATE))
    )
    layout = Layout(root, state)
    try:
        close_to_others(layout)
        code = run_container(*read, layout)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - the other place where errors end
        return code_of(error, 125, debug=False, places=(layout.root, layout.state))
    return code


def read_command_line(words: list[str]) -> tuple[str, tuple[str, ...], dict[str, Any]] | None:
    """Return (image, command, options by their names), or None for a line that is not plainly right."""
    kinds = _kinds()
    options: dict[str, Any] = {name: DEFAULTS.get(name, default) for name, default in _blank(kinds).items()}
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            break
        if not word.startswith("-") or word == "-":
            waiting.insert(0, word)
            break
        for flag, attached in _flags(word, kinds):
            if flag not in kinds:
                return None
            name, kind = kinds[flag]
            if kind == "switch":
                if attached is not None and attached not in TRUE | FALSE:
                    return None
                options[name] = attached is None or attached in TRUE
                continue
            if attached is None and not waiting:
                return None
            value = waiting.pop(0) if attached is None else attached
            if kind == "list":
                options[name] = (*options[name], value)
            elif kind == "text":
                options[name] = value
            else:
                try:
                    options[name] = int(value)
                except ValueError:
                    return None
    if not waiting:
        return None
    return waiting[0], tuple(waiting[1:]), options


def _flags(word: str, kinds: dict[str, tuple[str, str]]) -> list[tuple[str, str | None]]:
    """Take `--name=value` or `-itp8080:80` apart into flags and their attached values."""
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        return [(name, value if equals else None)]
    found: list[tuple[str, str | None]] = []
    for position in range(1, len(word)):
        flag, rest = f"-{word[position]}", word[position + 1 :]
        takes_value = flag in kinds and kinds[flag][1] != "switch"
        if rest.startswith("=") or (takes_value and rest):
            return [*found, (flag, rest.removeprefix("="))]
        found.append((flag, None))
    return found


def _kinds() -> dict[str, tuple[str, str]]:
    """Return by flag the option's name, which is that of its first long flag, and its kind."""
    tables = {"switch": SWITCHES + RUN_SWITCHES, "text": TEXTS + RUN_TEXTS, "number": NUMBERS, "list": LISTS}
    rows = [(flags.split("/"), kind) for kind, table in tables.items() for flags, _ in table]
    rows += [(["--oom-score-adj"], "number"), *(([flag], "text") for flag in NOT_BUILT.values())]
    kinds = {}
    for flags, kind in rows:
        name = next(flag for flag in flags if flag.startswith("--"))[2:].replace("-", "_")
        kinds.update(dict.fromkeys(flags, (name, kind)))
    return kinds


def _blank(kinds: dict[str, tuple[str, str]]) -> dict[str, Any]:
    blank = {"switch": False, "text": None, "number": None, "list": ()}
    return {name: blank[kind] for name, kind in kinds.values()}
