"""The command line of an OCI runtime, as runc's users and the shims of Docker, Podman and containerd type it.

Not click: a shim calls the runtime several times per container, and click alone takes as long to import as runc takes
for the whole container. The grammar is that of Go's flag package: `--name value`, `--name=value`, one dash or two,
switches with an optional `=true` or `=false`.
"""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# What Go takes for a switch's value (strconv.ParseBool).
TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


class Flag(Record):
    """One flag: its names, without dashes, the first of which is the key; `kind` is "switch", "text" or "list"."""

    names: tuple[str, ...]
    help: str
    kind: str = "text"


class Parsed(Record):
    """What was typed: texts, switches and lists by a flag's first name, and the arguments."""

    texts: dict[str, str]
    switches: dict[str, bool]
    lists: dict[str, list[str]]
    arguments: tuple[str, ...]

    def text(self, name: str, default: str = "") -> str:
        """Return the value of a flag, the last one if it was given twice."""
        return self.texts.get(name, default)

    def switch(self, name: str) -> bool:
        """Say whether a switch is on."""
        return self.switches.get(name, False)

    def number(self, name: str, default: int | None = None) -> int | None:
        """Return a flag's value as a whole number, in any of Go's bases. Raises MinirunError."""
        if name not in self.texts:
            return default
        try:
            return int(self.texts[name], 0)
        except ValueError:
            raise MinirunError(f'invalid value "{self.texts[name]}" for flag -{name}: not a whole number') from None


def parse(words: list[str], flags: tuple[Flag, ...], *, interspersed: bool) -> Parsed:
    """Read flags and arguments; with `interspersed` flags may follow arguments. Raises MinirunError."""
    by_name = {name: flag for flag in flags for name in flag.names}
    parsed = Parsed({}, {}, {}, ())
    arguments: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            arguments += waiting
            break
        if not word.startswith("-") or word == "-":
            arguments.append(word)
            if not interspersed:
                arguments += waiting
                break
            continue
        name, equals, value = word.lstrip("-").partition("=")
        flag = by_name.get(name)
        if flag is None:
            raise MinirunError(f"flag provided but not defined: -{name}", "--help lists the flags.")
        key = flag.names[0]
        if flag.kind == "switch":
            if equals and value not in TRUE | FALSE:
                raise MinirunError(f'invalid boolean value "{value}" for -{name}', "Write true or false.")
            parsed.switches[key] = not equals or value in TRUE
            continue
        if not equals:
            if not waiting:
                raise MinirunError(f"flag needs an argument: -{name}")
            value = waiting.pop(0)
        if flag.kind == "list":
            parsed.lists.setdefault(key, []).append(value)
        else:
            parsed.texts[key] = value
    return parsed.replace(arguments=tuple(arguments))


def usage(
    command: str, arguments: str, summary: str, flags: tuple[Flag, ...], verbs: Sequence[tuple[str, str]] = ()
) -> str:
    """Return a command's help text, in the sections that users of runc know."""
    lines = ["NAME:", f"   {command} - {summary}", "", "USAGE:", f"   {command} [flags] {arguments}".rstrip()]
    for title, rows in (("COMMANDS:", verbs), ("OPTIONS:", [(_names(flag), flag.help) for flag in flags])):
        if rows:
            width = max(len(name) for name, _ in rows)
            lines += ["", title, *(f"   {name.ljust(width)}  {text}" for name, text in rows)]
    return "\n".join(lines)


def _names(flag: Flag) -> str:
    names = ", ".join(f"-{name}" if len(name) == 1 else f"--{name}" for name in flag.names)
    return names if flag.kind == "switch" else f"{names} VALUE"
