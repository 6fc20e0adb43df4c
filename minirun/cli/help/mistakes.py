"""Errors of command lines: what is wrong, in one sentence, and what may have been meant.

A suggestion is close, or it is not made. Commands that destroy are suggested only where nothing else is as close.
Docker's commands that minirun lacks are named, with a replacement.
"""

from __future__ import annotations

from minirun.cli.call import with_common
from minirun.cli.grammar import FlagError
from minirun.cli.verbs.table import Group
from minirun.errors import MinirunError
from minirun.model.spelling import closest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from minirun.cli.grammar import Verb

DESTRUCTIVE = frozenset({"kill", "prune", "rm", "rmi"})
"""Commands that are suggested only where nothing else is as close."""

_BUILDING = "'minirun build' builds one image."
_REGISTRY = "'minirun pull' brings an image from a registry."
_NO_DAEMON = "minirun is one program on one machine, without a daemon."
# Docker's commands that minirun lacks, and what to use instead.
_ELSEWHERE = {
    "bake": _BUILDING,
    "buildx": _BUILDING,
    "checkpoint": "'minirun pause' stops a container's processes, and 'minirun unpause' lets them go on.",
    "compose": "Start each container with 'minirun run -d --name NAME ...'.",
    "config": _NO_DAEMON,
    "context": _NO_DAEMON,
    "events": "'minirun ps -a' tells the states of all containers, and 'minirun wait' waits for an end.",
    "node": _NO_DAEMON,
    "plugin": _NO_DAEMON,
    "search": _REGISTRY,
    "secret": _NO_DAEMON,
    "service": _NO_DAEMON,
    "stack": _NO_DAEMON,
    "swarm": _NO_DAEMON,
    "trust": _REGISTRY,
    "update": "Limits are given to 'minirun run': --memory, --cpus, --pids-limit.",
}
_LISTS = "'minirun ps' lists containers, 'minirun images' images."
_REMOVES = "'minirun rm' removes containers, 'minirun rmi' images."
_SHELL = "'minirun exec -it NAME sh' is a shell in a running container, 'minirun run -it IMAGE sh' in a new one."
# What people try that is not a typing error.
_WORDS = {
    "bash": _SHELL,
    "clean": "'minirun image prune' removes images that are not used.",
    "delete": _REMOVES,
    "enter": _SHELL,
    "list": _LISTS,
    "ls": _LISTS,
    "prune": "'minirun image prune' removes images that are not used.",
    "remove": _REMOVES,
    "sh": _SHELL,
    "shell": _SHELL,
    "ssh": _SHELL,
    "status": "'minirun ps -a' tells the states of containers.",
}
# Options of docker itself, which come before the command.
_DOCKERS_OPTIONS = {
    "-D": "Use --debug.",
    "-H": _NO_DAEMON,
    "--host": _NO_DAEMON,
    "-c": _NO_DAEMON,
    "--context": _NO_DAEMON,
    "--config": _NO_DAEMON,
    "-l": "Use --debug or --explain.",
    "--log-level": "Use --debug or --explain.",
    "--tls": _NO_DAEMON,
    "--tlsverify": _NO_DAEMON,
}


def unknown_command(path: str, name: str, known: Iterable[str]) -> MinirunError:
    """Return the error for a command that is not there; `path` is what came before it, `known` what could have."""
    if not name:
        return MinirunError("missing command", f"See '{path} --help'.", exit_code=1)
    if name in _ELSEWHERE:
        return MinirunError(f"'{path} {name}' is not there yet", _ELSEWHERE[name], exit_code=1)
    if name in _WORDS:
        hint = _WORDS[name]
    else:
        close = closest(name, [*known, *(word for word, hint in _ELSEWHERE.items() if hint != _NO_DAEMON)], DESTRUCTIVE)
        hint = f"Did you mean '{path} {close}'?" if close else f"See '{path} --help' for what there is."
        if close in _ELSEWHERE:
            hint = f"Docker's '{close}' is not there yet. {_ELSEWHERE[close]}"
    return MinirunError(f"unknown command: {path} {name}", hint, exit_code=1)


def with_hint(error: FlagError, path: str, here: Group | Verb, words: Sequence[str]) -> FlagError:
    """Return the error of a flag of what was reached by `path` with what may have been meant."""
    hint = _meant_flag(error.unknown, path, here, words) if error.unknown else ""
    return FlagError(error.message, hint or f"See '{path} --help'.", error.unknown)


def wrong_count(verb: Verb, path: str, words: Sequence[str]) -> MinirunError:
    """Return the error for more or fewer arguments than a verb takes: "requires exactly 2 arguments"."""
    hint = f"See '{path} --help'."
    if path.endswith(" load"):
        hint = "An archive is named by -i FILE, or comes by standard input."
    elif flag := _that_took_the_last(words, verb):
        hint = f"'{words[-1]}' is the value of {flag} here. {hint}"
    return MinirunError(f"'{path}' {_arguments_of(verb)}", hint, exit_code=1)


def _meant_flag(name: str, path: str, here: Group | Verb, words: Sequence[str]) -> str:
    """Say which flag may have been meant, or where this one belongs; "" if it resembles none."""
    if isinstance(here, Group):
        for word in words:
            inner = here.find(word)
            if inner is not None and name in _names(inner):
                typed = next((flag for flag in words if flag.startswith(name)), name)
                return f"It is a flag of '{word}' and goes after it: {path} {word} {typed} ..."
        if name in _DOCKERS_OPTIONS:
            return _DOCKERS_OPTIONS[name]
    close = closest(name, [flag for flag in _names(here) if flag.startswith("--")])
    return f"Did you mean {close}? See '{path} --help'." if close else ""


def _that_took_the_last(words: Sequence[str], verb: Verb) -> str:
    """Return the flag whose value the last word has become, "" if it is none."""
    typed = words[-2] if len(words) > 1 else ""
    return typed if any(typed in flag.names and flag.kind != "switch" for flag in verb.flags) else ""


def _names(here: Group | Verb) -> list[str]:
    return [name for flag in with_common(here.flags) for name in flag.names]


def _arguments_of(verb: Verb) -> str:
    """Say how many arguments a verb takes."""
    least, most = verb.argument_counts
    if most == 0:
        return "accepts no arguments"
    if most is not None and 0 < least < most:
        return f"requires {least} to {most} arguments"
    how = "at least" if most is None else "exactly" if least == most else "at most"
    count = least if most is None else most
    return f"{'requires' if least else 'accepts'} {how} {count} argument{'' if count == 1 else 's'}"
