"""The help of `minirun-oci`, in the sections that users of runc know. Imported for help only."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from minirun.cli.grammar import Flag, Verb


def usage(
    command: str, arguments: str, summary: str, flags: Sequence[Flag], verbs: Mapping[str, Verb] | None = None
) -> str:
    """Return a command's help text."""
    lines = ["NAME:", f"   {command} - {summary}", "", "USAGE:", f"   {command} [flags] {arguments}".rstrip()]
    about = [(name, verb.function.__doc__ or "") for name, verb in (verbs or {}).items()]
    for title, rows in (("COMMANDS:", about), ("OPTIONS:", [(_names(flag), flag.about) for flag in flags])):
        if rows:
            width = max(len(name) for name, _ in rows)
            lines += ["", title, *(f"   {name.ljust(width)}  {text}" for name, text in rows)]
    return "\n".join(lines)


def _names(flag: Flag) -> str:
    names = ", ".join(flag.names)
    return names if flag.kind == "switch" else f"{names} VALUE"
