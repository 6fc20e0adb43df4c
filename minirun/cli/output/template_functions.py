"""What templates compute with: how Go prints values, and the functions that Docker's templates know."""

from __future__ import annotations

from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Callable
    from typing import Any


class Map(dict[str, object]):
    """A value whose keys are data, such as labels: a missing one is `<no value>`; elsewhere it is a wrong field."""


class NilMap(Map):
    """A map that is null in JSON; in templates it is an empty one."""


class _NoValue:
    """What a missing key of a map is: false, and printed as Go does."""

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        return "<no value>"


NO_VALUE = _NoValue()


def wrong(problem: str) -> MinirunError:
    """Return the error for a template that is not one, or that does not fit the value."""
    return MinirunError(f"template parsing error: {problem}", "See Go's text/template, for example '{{.ID}}'.", 1)


def text_of(value: object) -> str:
    """Return a value as Go prints it with %v."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{' '.join(map(text_of, value))}]"
    if isinstance(value, Map):
        return f"map[{' '.join(f'{key}:{text_of(value[key])}' for key in sorted(value))}]"
    if isinstance(value, dict):
        return f"{{{' '.join(text_of(item) for item in value.values() if not callable(item))}}}"
    return str(value)


def _json(value: object) -> str:
    import json

    return json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False)


def _plain(value: object) -> object:
    """Return what JSON shows of a value."""
    if value is NO_VALUE or isinstance(value, NilMap):
        return None
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if not callable(inner)}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _index(value: Any, *keys: Any) -> object:
    for key in keys:
        value = value.get(key, "") if isinstance(value, dict) else value[key]
    return value


def _printf(form: str, *values: object) -> str:
    import re

    remaining = list(values)

    def one(match: re.Match[str]) -> str:
        flags, verb = match.groups()
        if verb == "%":
            return "%"
        value = remaining.pop(0)
        if verb == "q":
            return _json(text_of(value))
        return f"%{flags}{verb if verb in 'dxXf' else 's'}" % (value if verb in "dxXf" else text_of(value))

    return re.sub(r"%([-+ 0#]*\d*(?:\.\d+)?)([vsdqtxXf%])", one, form)


FUNCTIONS: dict[str, Callable[..., object]] = {
    "json": _json,
    "join": lambda values, separator: separator.join(map(text_of, values)),
    "split": lambda text, separator: text.split(separator),
    "lower": lambda text: text.lower(),
    "upper": lambda text: text.upper(),
    "title": lambda text: text.title(),
    "truncate": lambda text, length: text[:length],
    "pad": lambda text, before, after: " " * before + text + " " * after,
    "len": len,
    "index": _index,
    "slice": lambda value, *bounds: value[slice(*(bounds or (0, None)))] if len(bounds) != 1 else value[bounds[0] :],
    "print": lambda *values: " ".join(map(text_of, values)),
    "println": lambda *values: " ".join(map(text_of, values)) + "\n",
    "printf": _printf,
    "eq": lambda first, *others: any(first == other for other in others),
    "ne": lambda first, second: first != second,
    "lt": lambda first, second: first < second,
    "le": lambda first, second: first <= second,
    "gt": lambda first, second: first > second,
    "ge": lambda first, second: first >= second,
    "not": lambda value: not value,
    "and": lambda *values: next((value for value in values if not value), values[-1]),
    "or": lambda *values: next((value for value in values if value), values[-1]),
}
