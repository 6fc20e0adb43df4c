"""Typed fields out of the JSON objects of a config.json; an error names the field by its whole path.

`typed` is for minirun's own files, whose fields are those of a Record; here a caller's file is read, in its own words.
"""

from __future__ import annotations

from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

_KINDS = {str: "a string", int: "a number", bool: "true or false", dict: "an object", list: "a list"}


class Fields:
    """The fields of one JSON object; each method reads one, as its name says, and raises MinirunError that names it."""

    def __init__(self, values: object, name: str) -> None:
        if not isinstance(values, dict):
            raise MinirunError(f"config.json: {name or 'the document'} is not an object")
        self.values: dict[str, Any] = values
        self.name = name

    def _get(self, key: str, kind: type, default: Any) -> Any:
        value = self.values.get(key)
        if value is None:
            value = default
        right = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
        if not right:
            what = "is missing" if value is None else f"is not {_KINDS[kind]}"
            raise MinirunError(f"config.json: {self.name}{key} {what}")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        value: str = self._get(key, str, default)
        if "\0" in value:
            raise MinirunError(f"config.json: {self.name}{key} holds a NUL character")
        return value

    def number(self, key: str, default: int | None = None, highest: int = 0) -> int:
        """Return a number; with `highest` it must be in 0 to that."""
        value = int(self._get(key, int, default))
        if highest and not 0 <= value <= highest:
            raise MinirunError(f"config.json: {self.name}{key} {value} is not in 0 to {highest}")
        return value

    def numbers(self, key: str, highest: int) -> tuple[int, ...]:
        values: list[Any] = self._get(key, list, [])
        if not all(type(value) is int and 0 <= value <= highest for value in values):
            raise MinirunError(f"config.json: {self.name}{key} is not a list of numbers in 0 to {highest}")
        return tuple(values)

    def flag(self, key: str) -> bool:
        return bool(self._get(key, bool, False))

    def section(self, key: str) -> Fields:
        return Fields(self._get(key, dict, {}), f"{self.name}{key}.")

    def texts(self, key: str) -> tuple[str, ...]:
        values: list[Any] = self._get(key, list, [])
        if not all(isinstance(value, str) and "\0" not in value for value in values):
            raise MinirunError(f"config.json: {self.name}{key} is not a list of strings")
        return tuple(values)

    def words(self, key: str) -> tuple[str, ...]:
        """Return the words of a command; a number among them is one as it is written, as for other runtimes."""
        values: list[Any] = self._get(key, list, [])
        return Fields({key: [str(value) if type(value) is int else value for value in values]}, self.name).texts(key)

    def mapping(self, key: str) -> dict[str, str]:
        values: dict[str, Any] = self._get(key, dict, {})
        if not all(isinstance(value, str) for value in values.values()):
            raise MinirunError(f"config.json: {self.name}{key} is not a map of strings")
        return values

    def each(self, key: str, read: Callable[[Fields], T]) -> tuple[T, ...]:
        values: list[Any] = self._get(key, list, [])
        return tuple(read(Fields(value, f"{self.name}{key}[{index}].")) for index, value in enumerate(values))
