"""NAME=VALUE: from flags, from files, and as the container's process gets it."""

from __future__ import annotations

import os

from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def from_flags(files: tuple[str, ...], flags: tuple[str, ...]) -> tuple[str, ...]:
    """Join `--env-file` and `-e`, files first so that flags win.

    A bare NAME takes minirun's own value. Where minirun has none it stays bare when it came from a flag, which takes
    the variable away from the image's environment, and is skipped when it came from a file. Raises MinirunError.
    """
    entries = [entry for file in files for entry in read_file(file, _inherited)]
    for flag in flags:
        name, equals, _ = flag.partition("=")
        if not name:
            raise MinirunError(f"invalid environment variable: {flag}")
        entries.append(flag if equals else _inherited(name) or name)
    return tuple(entries)


def labels_from_flags(files: tuple[str, ...], flags: tuple[str, ...]) -> dict[str, str]:
    """Join `--label-file` and `-l`; a bare key has an empty value. Raises MinirunError."""
    entries = [entry for file in files for entry in read_file(file, lambda name: f"{name}=")]
    for flag in flags:
        if not flag.partition("=")[0]:
            raise MinirunError(f"invalid label '{flag}': empty name")
        entries.append(flag)
    return {name: value for name, _, value in (entry.partition("=") for entry in entries)}


def read_file(path: str, value_of_bare: Callable[[str], str | None]) -> list[str]:
    """Return the NAME=VALUE lines of an env file. Raises MinirunError.

    Docker's format is no shell: quotes are part of the value, there is no expansion, a line that starts with # is a
    comment, and white space in a name is an error. A line without = is `value_of_bare(name)`, left out if that is
    None.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="\n") as file:
            lines = file.read().split("\n")
    except OSError as error:
        raise MinirunError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise MinirunError(f"cannot read {path}: it is not UTF-8 text") from error
    return parse_lines(lines, path, value_of_bare)


def parse_lines(lines: list[str], path: str, value_of_bare: Callable[[str], str | None]) -> list[str]:
    """Return what the lines of an env file named `path` say; see `read_file`."""
    entries = []
    for number, raw in enumerate(lines, 1):
        line = raw.removesuffix("\r").lstrip()
        if not line or line.startswith("#"):
            continue
        name, equals, _ = line.partition("=")
        if not name:
            raise MinirunError(f"{path} line {number} has no variable name: '{line}'")
        if any(character.isspace() for character in name):
            raise MinirunError(f"{path} line {number}: variable '{name}' contains white space")
        if "\0" in line:
            raise MinirunError(f"{path} line {number}: the value of '{name}' contains a NUL byte")
        entry = line if equals else value_of_bare(name)
        if entry is not None:
            entries.append(entry)
    return entries


def of_process(
    image: tuple[str, ...], request: tuple[str, ...], hostname: str, home: str, *, tty: bool
) -> tuple[str, ...]:
    """Return the environment of the container's process, in Docker's order.

    PATH, HOSTNAME and, with a terminal, TERM; over them the image's ENV; over that the request's, where a bare NAME
    removes; HOME last and only if nobody set it. Nothing comes from minirun's own environment.
    """
    variables = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    if tty:
        variables["TERM"] = "xterm"
    for entry in (*image, *request):
        name, equals, value = entry.partition("=")
        if equals:
            variables[name] = value
        else:
            variables.pop(name, None)
    variables.setdefault("HOME", home)
    return tuple(f"{name}={value}" for name, value in variables.items())


def _inherited(name: str) -> str | None:
    value = os.environ.get(name)
    return None if value is None else f"{name}={value}"
