"""The grammar of command lines: the tables of flags, and the one parser that reads a line by them.

People type `minirun` as they type `docker`, whose flags Go's pflag reads (PFLAG): there are clusters of short flags,
`-itp 80:80`. Callers type `minirun-oci` as they type `runc`, whose flags Go's own package flag reads (GO): one dash or
two mean the same, and there are no clusters. In both, flags are given as `--name value` or `--name=value`, and a switch
may be told `=true` or `=false`.

This is on the way of every command, so it imports next to nothing. Help, completion and what is said to a wrong line
are made from the same tables in help/, and imported only then.
"""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

# The values of a switch that Go accepts (strconv.ParseBool).
TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


class FlagError(MinirunError):
    """A flag or its value is wrong: 125 in every command, where other failures of most commands give 1.

    `unknown` is the flag, if there is none of that name.
    """

    def __init__(self, message: str, hint: str = "", unknown: str = "") -> None:
        super().__init__(message, hint)
        self.unknown = unknown


class Flag(Record):
    """One flag, spelled with all its names: "-p/--publish".

    A "switch" takes no value; "text", "number" and "list" take one: all values of a list count, and the last value of
    the others. `choices` are all values that a text may have, and what a switch may be told besides true and false. A
    flag that is not given has the default. `about` is its description in --help, which leaves out flags without one.
    """

    spelled: str
    about: str = ""
    kind: str = "text"
    default: Any = None
    choices: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """All names, with their dashes."""
        return self.spelled.split("/")

    @property
    def key(self) -> str:
        """The first long name, without dashes, by which its value is asked for."""
        start = self.spelled.index("--") + 2
        end = self.spelled.find("/", start)
        return self.spelled[start:] if end < 0 else self.spelled[start:end]


def text(spelled: str, about: str = "", default: str | None = None, choices: tuple[str, ...] = ()) -> Flag:
    """Return a flag that takes a value."""
    return Flag(spelled, about, "text", default, choices)


def switch(spelled: str, about: str = "", default: bool = False, choices: tuple[str, ...] = ()) -> Flag:
    """Return a flag that is on or off."""
    return Flag(spelled, about, "switch", default, choices)


def number(spelled: str, about: str = "", default: int | None = None) -> Flag:
    """Return a flag that takes a whole number."""
    return Flag(spelled, about, "number", default)


def many(spelled: str, about: str = "") -> Flag:
    """Return a flag that may be given several times."""
    return Flag(spelled, about, "list", ())


class Verb(Record):
    """A verb: the function that carries it out, and what may follow it on the command line.

    The function's docstring is its help; it is called with what was typed, and returns the exit code, None for 0.
    `arguments` are named as help shows them: "NAME" must be there, "[NAME]" may, of "NAME..." there may be several.
    Where flags are not `interspersed`, all that follows the first argument is an argument, too. `failure_code` is the
    exit code of minirun's own failures: 125 where the exit code otherwise is that of a container. `examples` are lines,
    each with what it does.
    """

    function: Callable[[Any], int | None]
    flags: tuple[Flag, ...] = ()
    arguments: str = ""
    interspersed: bool = True
    failure_code: int = 1
    summary: str = ""
    examples: tuple[tuple[str, str], ...] = ()

    def takes(self, count: int) -> bool:
        """Say whether so many arguments can be given."""
        least, most = self.argument_counts
        return least <= count and (most is None or count <= most)

    @property
    def argument_counts(self) -> tuple[int, int | None]:
        """How many arguments there must be at least, and at most: None for as many as there are."""
        required = f" {self.arguments}".partition(" [")[0]
        return len(required.split()), None if "..." in self.arguments else len(self.arguments.split())


class Parsed(Record):
    """What was typed: the values of the flags that were given, by their keys, and the arguments."""

    values: dict[str, Any]
    arguments: tuple[str, ...]

    def text(self, key: str, default: str = "") -> str:
        """Return the value of a flag that takes one."""
        value: str = self.values.get(key, default)
        return value

    def switch(self, key: str, default: bool = False) -> bool:
        """Say whether a switch is on."""
        value: bool = self.values.get(key, default)
        return value

    def number(self, key: str, default: int | None = None) -> int | None:
        """Return the value of a flag that takes a whole number."""
        value: int | None = self.values.get(key, default)
        return value

    def many(self, key: str) -> tuple[str, ...]:
        """Return all values of a flag that may be given several times."""
        value: tuple[str, ...] = self.values.get(key, ())
        return value


class Grammar(Record):
    """How words are split into flags, and the error messages for wrong ones.

    The messages may contain {flag}, as it was typed, and {value}.
    """

    clusters: bool
    unknown: tuple[str, str]
    lacks_value: str
    no_boolean: tuple[str, str]
    no_number: str
    base: int  # of numbers; 0: as they are written, 0x10

    def flags_of(self, word: str, known: dict[str, Flag]) -> Iterator[tuple[str, str | None]]:
        """Take `--name=value` or `-itp8080:80` apart into flags and their attached values."""
        if not self.clusters or word.startswith("--"):
            name, equals, value = word.partition("=")
            yield name if self.clusters else f"-{name.lstrip('-')}", value if equals else None
            return
        for position in range(1, len(word)):
            name, rest = f"-{word[position]}", word[position + 1 :]
            takes_value = name in known and known[name].kind != "switch"
            if rest.startswith("=") or (takes_value and rest):
                yield name, rest.removeprefix("=")
                return
            yield name, None


PFLAG = Grammar(
    True,
    ("unknown flag: {flag}", ""),
    "flag needs an argument: {flag}",
    ("invalid value for {flag}={value}: it is a switch: true or false", ""),
    "invalid value for {flag}: '{value}' is not a valid integer",
    10,
)
GO = Grammar(
    False,
    ("flag provided but not defined: {flag}", "--help lists the flags."),
    "flag needs an argument: {flag}",
    ('invalid boolean value "{value}" for {flag}', "Write true or false."),
    'invalid value "{value}" for flag {flag}: not a whole number',
    0,
)


def parse(
    words: Sequence[str], flags: Sequence[Flag], grammar: Grammar = PFLAG, *, interspersed: bool = True
) -> Parsed:
    """Read flags and arguments; if `interspersed`, flags may follow arguments. Raises FlagError."""
    known = {name if grammar.clusters else f"-{name.lstrip('-')}": flag for flag in flags for name in flag.names}
    values: dict[str, Any] = {}
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
        for name, attached in grammar.flags_of(word, known):
            flag = known.get(name)
            if flag is None:
                sentence, hint = grammar.unknown
                raise FlagError(sentence.format(flag=name), hint, unknown=name)
            if flag.kind == "switch":
                values[flag.key] = attached is None or _switch_value(flag, name, attached, grammar)
                continue
            if attached is None and not waiting:
                raise FlagError(grammar.lacks_value.format(flag=name))
            value = waiting.pop(0) if attached is None else attached
            if flag.kind == "list":
                values[flag.key] = (*values.get(flag.key, ()), value)
            else:
                values[flag.key] = _value(flag, value, grammar)
    return Parsed(values, tuple(arguments))


def _switch_value(flag: Flag, name: str, value: str, grammar: Grammar) -> bool | str:
    if value in flag.choices:
        return value
    if value in TRUE | FALSE:
        return value in TRUE
    if flag.choices:
        raise FlagError(f"invalid value for {name}={value}: it is {' or '.join(flag.choices)}")
    sentence, hint = grammar.no_boolean
    raise FlagError(sentence.format(flag=name, value=value), hint)


def _value(flag: Flag, value: str, grammar: Grammar) -> int | str:
    if flag.kind == "number":
        try:
            return int(value, grammar.base)
        except ValueError:
            raise FlagError(grammar.no_number.format(flag=flag.names[-1], value=value)) from None
    if flag.choices and value not in flag.choices:
        choices = ", ".join(f"'{choice}'" for choice in flag.choices)
        raise FlagError(f"invalid value for {flag.names[-1]}: '{value}' is not one of {choices}")
    return value
