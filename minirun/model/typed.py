"""What a value that comes from a file must be, by the words that records annotate their fields with.

A file of minirun's own may be damaged: by a crash of the machine, a full disk, an editor. What is read from it must not
surprise anybody later, so everything is checked at once: types, and where a number or a text has a meaning beyond its
type, that too. The names below are such meanings. To a type checker they are plain numbers and texts.

A *reader* takes a value as JSON gives it and returns the field's value, or raises ValueError with a reason.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Reader = Callable[[Any], Any]

Seconds = float
"""A moment, in seconds since the epoch, that calendars know: before the year 10000."""
FileName = str
"""One part of a path: a container's id, the name of a volume."""
Address = str
"""An IPv4 address in four decimal parts."""
Subnet = str
"""An IPv4 address and a prefix's length: "10.64.0.0/16"."""
Port = int
"""A port of TCP or UDP; 0 is none."""
Pid = int
"""A process's number; 0 is none."""
Bytes = int
"""A number of bytes, not below 0."""
Digest = str
""""sha256:" or another algorithm's name, and digits; empty where there is none."""

_YEAR_10000 = 253_402_300_800.0
_PID_MAX = 1 << 22  # PID_MAX_LIMIT, linux/threads.h
_INTEGER_MAX = 1 << 63
_HEX = frozenset("0123456789abcdef")


def reader_of(annotation: str, module: str) -> Reader:
    """Return the reader for an annotation, such as "tuple[str, ...] | None", that stands in the module of that name."""
    if annotation.endswith(" | None"):
        inner = reader_of(annotation.removesuffix(" | None"), module)
        return lambda value: None if value is None else inner(value)
    outer, bracket, rest = annotation.partition("[")
    if outer == "dict" and bracket:
        return mapping_of(reader_of(rest[:-1].partition(", ")[2], module))
    if outer == "tuple" and rest.endswith(", ...]"):
        return _sequence(reader_of(rest.removesuffix(", ...]"), module))
    if outer == "tuple" and bracket:
        return _fixed([reader_of(part, module) for part in rest[:-1].split(", ")])
    plain = _PLAIN.get(annotation)
    if plain is None:
        reader: Reader = getattr(sys.modules[module], annotation).read_back
        return reader
    return plain


def text(value: object) -> str:
    """Read a text that can be part of a path, an argument, a message: without NUL, and Unicode or bytes in disguise.

    Bytes that are not UTF-8 come as Python has them in arguments (PEP 383). Raises ValueError.
    """
    if type(value) is not str:
        raise ValueError(f"{_shown(value)} is not text")
    if "\0" in value:
        raise ValueError(f"{_shown(value)} holds a NUL")
    if not value.isascii():
        value.encode("utf-8", "surrogateescape")
    return value


def digest(value: object) -> str:
    """Read a `Digest`. Raises ValueError."""
    algorithm, _, digits = text(value).partition(":")
    if value and not (algorithm.isalnum() and digits and _HEX.issuperset(digits)):
        raise ValueError(f"{_shown(value)} is not a digest")
    return text(value)


def mapping_of(item: Reader) -> Callable[[object], dict[str, Any]]:
    """Return the reader of an object all of whose values are for the reader `item`."""

    def read(value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError(f"{_shown(value)} is not an object")
        return {text(key): item(each) for key, each in value.items()}

    return read


def _shown(value: object) -> str:
    return ascii(value)[:60]


def _anything(value: object) -> object:
    return value


def _truth(value: object) -> bool:
    if type(value) is not bool:
        raise ValueError(f"{_shown(value)} is neither true nor false")
    return value


def _integer(low: int, high: int) -> Reader:
    def read(value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"{_shown(value)} is not a whole number from {low} to {high}")
        return value

    return read


def _real(low: float, high: float) -> Reader:
    def read(value: object) -> float:
        if type(value) not in (int, float) or not low <= value <= high:  # type: ignore[operator]
            raise ValueError(f"{_shown(value)} is not a number from {low:g} to {high:g}")
        return float(value)  # type: ignore[arg-type]

    return read


def _file_name(value: object) -> str:
    if text(value) in ("", ".", "..") or "/" in text(value):
        raise ValueError(f"{_shown(value)} is not the name of a file")
    return text(value)


def _address(value: object) -> str:
    parts = text(value).split(".")
    if len(parts) != 4 or not all(_is_number(part, 255) for part in parts):
        raise ValueError(f"{_shown(value)} is not an IPv4 address")
    return text(value)


def _subnet(value: object) -> str:
    address, _, length = text(value).partition("/")
    _address(address)
    if not _is_number(length, 32):
        raise ValueError(f"{_shown(value)} is not a subnet")
    return text(value)


def _is_number(digits: str, highest: int) -> bool:
    return digits.isascii() and digits.isdigit() and len(digits) <= 3 and int(digits) <= highest


def _sequence(item: Reader) -> Reader:
    def read(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{_shown(value)} is not a list")
        return tuple([item(each) for each in value])

    return read


def _fixed(items: list[Reader]) -> Reader:
    def read(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or len(value) != len(items):
            raise ValueError(f"{_shown(value)} is not a list of {len(items)}")
        return tuple([item(each) for item, each in zip(items, value, strict=True)])

    return read


_PLAIN: dict[str, Reader] = {
    "Any": _anything,
    "str": text,
    "bool": _truth,
    "int": _integer(-_INTEGER_MAX, _INTEGER_MAX - 1),
    "float": _real(-1e300, 1e300),
    "Seconds": _real(0, _YEAR_10000 - 1),
    "FileName": _file_name,
    "Address": _address,
    "Subnet": _subnet,
    "Port": _integer(0, 65535),
    "Pid": _integer(0, _PID_MAX),
    "Bytes": _integer(0, _INTEGER_MAX - 1),
    "Digest": digest,
}
