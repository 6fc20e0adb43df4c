"""JSON for the path on which a container starts: `json` would bring `re` and `enum` along, for 6 ms.

This is the same C code that `json` uses, without the Python around it. Texts are small and come whole.
"""

from __future__ import annotations

import _json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Settings:
    """The settings that the scanner asks for, as in `json.JSONDecoder()`."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    memo: dict[str, str] = {}

    @staticmethod
    def parse_constant(name: str) -> float:
        raise ValueError(f"{name} is not JSON")


_scan = _json.make_scanner(_Settings())  # type: ignore[arg-type]  # any object with these names will do


def loads(text: str | bytes) -> Any:
    """Return the value that a JSON text stands for. Raises ValueError."""
    if isinstance(text, bytes):
        text = text.decode()
    text = text.strip(" \t\n\r")
    try:
        value, end = _scan(text, 0)
        if end == len(text):
            return value
    except (StopIteration, SystemError):
        pass  # only json's Python code can say what is wrong
    import json

    return json.loads(text)


def _refuse(value: object) -> object:
    raise TypeError(f"{type(value).__name__} has no form in JSON")


_encode = _json.make_encoder({}, _refuse, _json.encode_basestring_ascii, None, ":", ",", False, False, False)


def quoted(text: str) -> str:
    """Return a text as a JSON string in which letters are letters, not escapes."""
    return _json.encode_basestring(text)


def dumps(value: object) -> str:
    """Return a value as JSON text in one line, without spaces. Raises TypeError, ValueError."""
    return "".join(_encode(value, 0))


def dumps_for_people(value: object, margin: str = "") -> str:
    """Return a value as JSON text with a line for each member, indented by two spaces. Raises TypeError, ValueError."""
    deeper = f"{margin}  "
    if isinstance(value, dict) and value:
        members = [f"{deeper}{dumps(str(key))}: {dumps_for_people(item, deeper)}" for key, item in value.items()]
        return "\n".join(["{", ",\n".join(members), f"{margin}}}"])
    if isinstance(value, list | tuple) and value:
        return "\n".join(["[", ",\n".join(f"{deeper}{dumps_for_people(item, deeper)}" for item in value), f"{margin}]"])
    return dumps(value)
