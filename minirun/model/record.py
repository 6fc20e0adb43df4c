"""The base of every value type: a frozen record that costs nothing to import.

`dataclasses` says the same in fewer lines, but importing it (with `inspect` behind it) takes as long as a C runtime
takes to start a whole container. A record is written like a dataclass and type-checked like one:

    class Layer(Record):
        digest: str
        size: int = 0
"""

from __future__ import annotations

from minirun.model.typed import reader_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self, dataclass_transform
else:

    def dataclass_transform(**_):
        return lambda cls: cls


@dataclass_transform(frozen_default=True)
class Record:
    """A frozen value with named fields, equality, a repr and a form that `json` can write."""

    _fields: tuple[str, ...] = ()
    _required: frozenset[str] = frozenset()

    def __init_subclass__(cls) -> None:
        cls._fields += tuple(name for name in cls.__annotations__ if not name.startswith("_"))
        cls._required = frozenset(name for name in cls._fields if not hasattr(cls, name))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        values = self.__dict__
        values.update(zip(self._fields, args, strict=False))
        values.update(kwargs)
        if len(values) < len(args) + len(kwargs) or not values.keys() <= set(self._fields):
            raise TypeError(f"{type(self).__name__} takes {', '.join(self._fields)}")
        if not self._required <= values.keys():
            lacking = sorted(self._required - values.keys())
            raise TypeError(f"{type(self).__name__} lacks {', '.join(lacking)}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: make a changed copy with replace()")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(getattr(self, n) == getattr(other, n) for n in self._fields)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in self._fields))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self._fields)})"

    def replace(self, **changes: Any) -> Self:
        """Return a copy in which the named fields have other values."""
        return type(self)(**{name: getattr(self, name) for name in self._fields} | changes)

    @classmethod
    def read_back(cls, fields: object) -> Self:
        """Return the record that `as_dict` has given `fields` of, which may have been damaged since.

        Every value is what the field's annotation says (model/typed.py). Raises ValueError with the reason if not.
        """
        if not isinstance(fields, dict):
            raise ValueError(f"it holds a {type(fields).__name__} instead of fields")
        readers = cls.__dict__.get("_readers") or cls._make_readers()
        values = {}
        for name, value in fields.items():
            if name not in readers:
                raise ValueError(f"it has a field {ascii(name)[:60]} that this version does not know")
            try:
                values[name] = readers[name](value)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        if not cls._required <= values.keys():
            raise ValueError(f"it lacks {', '.join(sorted(cls._required - values.keys()))}")
        record = cls(**values)
        record.check()
        return record

    def check(self) -> None:
        """Raise ValueError if fields of this record, right each for itself, do not go together."""

    @classmethod
    def _make_readers(cls) -> dict[str, Callable[[Any], Any]]:
        """Make the readers of all fields, which are kept with the class: most programs read no record back."""
        readers = {
            name: reader_of(annotation, base.__module__)
            for base in reversed(cls.__mro__)
            if issubclass(base, Record)
            for name, annotation in base.__annotations__.items()
            if name in cls._fields
        }
        cls._readers = readers  # type: ignore[attr-defined]  # no field: it would be one of every record
        return readers

    def as_dict(self) -> dict[str, Any]:
        """Return plain dictionaries, lists and scalars, for `json`."""
        return {name: _plain(getattr(self, name)) for name in self._fields}


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.as_dict()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
