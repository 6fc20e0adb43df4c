"""How Docker prints: tables, "Up 2 minutes", "1.5GB", and Go templates such as `--format '{{.ID}}: {{.Names}}'`.

The templates are the part of Go's text/template (pkg.go.dev/text/template) that Docker's users type: fields, pipelines,
variables, `if`, `range`, `with`, and Docker's functions. A template is compiled once into Python functions and then
called for each row.
"""

from __future__ import annotations

import re
import time

from minirun.errors import MinirunError, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Evaluate = Callable[["Scope"], Any]


class Map(dict[str, object]):
    """A value whose keys are data, such as labels: a missing one is `<no value>`; elsewhere it is a wrong field."""


# -- tables, sizes, times --------------------------------------------------------------------------------------------

_MINIMUM_COLUMN = 10
_PADDING = 3


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows under headers in columns, as text without a final new line."""
    lines = [[printable(cell) for cell in line] for line in (headers, *rows)]
    widths = [max(_MINIMUM_COLUMN, *(len(line[i]) + _PADDING for line in lines)) for i in range(len(headers) - 1)]
    widths.append(0)
    return "\n".join("".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def duration(seconds: float) -> str:
    """Return "5 minutes", "About an hour", "3 weeks": as exact as people need it."""
    whole = int(seconds)
    minutes, hours = whole // 60, int(seconds / 3600 + 0.5)
    if whole < 1:
        return "Less than a second"
    if whole < 60:
        return "1 second" if whole == 1 else f"{whole} seconds"
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    for unit, length, twice in (("days", 24, 24 * 14), ("weeks", 24 * 7, 24 * 60), ("months", 24 * 30, 24 * 730)):
        if hours < twice:
            return f"{hours // length} {unit}"
    return f"{hours // (24 * 365)} years"


def decimal_size(size: float, digits: int = 3) -> str:
    """Return "1.24MB": powers of 1000, as Docker shows images and files."""
    return _scaled(size, 1000, ("B", "kB", "MB", "GB", "TB", "PB"), digits)


def binary_size(size: float, digits: int = 4) -> str:
    """Return "15.6GiB": powers of 1024, as Docker shows memory."""
    return _scaled(size, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"), digits)


def _scaled(size: float, base: int, units: Sequence[str], digits: int) -> str:
    index = 0
    while size >= base and index < len(units) - 1:
        size /= base
        index += 1
    return f"{size:.{digits}g}{units[index]}"


def local_time(seconds: float) -> str:
    """Return a time in the user's zone as Docker's CreatedAt shows it: "2024-05-01 14:00:00 +0200 CEST"."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(seconds))


# -- templates -------------------------------------------------------------------------------------------------------


class Scope:
    """What a template sees at one point: the dot and the variables."""

    def __init__(self, dot: object, variables: dict[str, object]) -> None:
        self.dot = dot
        self.variables = variables

    def inner(self, dot: object) -> Scope:
        return Scope(dot, dict(self.variables))


class Template:
    """A compiled template."""

    def __init__(self, text: str) -> None:
        """Compile `text`, in which \\t and \\n may be written as two characters. Raises MinirunError."""
        parser = _Parser(text.replace("\\t", "\t").replace("\\n", "\n"))
        self._render = parser.block(())

    def render(self, value: object) -> str:
        """Return the text for `value`, made of dicts, lists and scalars. Raises MinirunError for a wrong field."""
        return str(self._render(Scope(value, {"$": value})))


def render(template: str, value: object) -> str:
    """Return what `template` says about `value`. Raises MinirunError."""
    return Template(template).render(value)


def print_rows(template: str, rows: Sequence[dict[str, object]], headers: dict[str, object]) -> str:
    """Return `rows` as `--format` asks: "table TEMPLATE" with `headers` by field, "json", or a line per row."""
    if template == "json":
        template = "{{json .}}"
    if not template.startswith("table "):
        compiled = Template(template)
        return "\n".join(compiled.render(row) for row in rows)
    compiled = Template(template.removeprefix("table ").strip())
    lines = [compiled.render(headers).split("\t"), *(compiled.render(row).split("\t") for row in rows)]
    columns = max(len(line) for line in lines)
    filled = [line + [""] * (columns - len(line)) for line in lines]
    return table(filled[0], filled[1:])


_ACTION = re.compile(r"\{\{(- )?(.*?)( -)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`)
    | (?P<number>-?\d+(?:\.\d+)?)
    | (?P<variable>\$\w*)
    | (?P<field>\.\w+)
    | (?P<dot>\.)
    | (?P<word>[A-Za-z_]\w*)
    | (?P<mark>:=|[()|,=])
    )""",
    re.VERBOSE,
)
_KEYWORDS = frozenset({"if", "else", "end", "range", "with"})
_CONSTANTS: dict[str, object] = {"true": True, "false": False, "nil": None}


def _wrong(problem: str) -> MinirunError:
    return MinirunError(f"template parsing error: {problem}", "See Go's text/template, for example '{{.ID}}'.", 1)


class _Parser:
    """Turns template text into one function from a scope to text, by recursive descent."""

    def __init__(self, text: str) -> None:
        self._pieces: list[tuple[str, str]] = []
        position, trim_next = 0, False
        for match in _ACTION.finditer(text):
            before = text[position : match.start()]
            before = before.lstrip() if trim_next else before
            self._pieces.append(("text", before.rstrip() if match[1] else before))
            if not match[2].strip().startswith("/*"):
                self._pieces.append(("action", match[2].strip()))
            position, trim_next = match.end(), bool(match[3])
        rest = text[position:]
        if "{{" in rest:
            raise _wrong("unclosed action")
        self._pieces.append(("text", rest.lstrip() if trim_next else rest))
        self._next = 0
        self.ended_by = ""

    def block(self, enders: tuple[str, ...]) -> Evaluate:
        """Compile up to one of the keywords `enders`, which is left in `ended_by`; up to the end without any."""
        parts: list[Evaluate] = []
        while self._next < len(self._pieces):
            kind, content = self._pieces[self._next]
            self._next += 1
            if kind == "text":
                parts.append(_constant(content))
                continue
            word, _, rest = content.partition(" ")
            if word in enders:
                self.ended_by = content
                return _concatenation(parts)
            if word in ("end", "else"):
                raise _wrong(f"unexpected {{{{{word}}}}}")
            parts.append(self._control(word, rest) if word in _KEYWORDS else _printed(_pipeline(content)))
        if enders:
            raise _wrong("unexpected end of the template, {{end}} is missing")
        return _concatenation(parts)

    def _control(self, word: str, rest: str) -> Evaluate:
        names, pipeline = _declared(rest)
        body = self.block(("else", "end"))
        otherwise = _constant("")
        if self.ended_by.startswith("else"):
            condition = self.ended_by.removeprefix("else").strip()
            if condition.startswith(("if ", "with ")):
                inner, _, inner_rest = condition.partition(" ")
                otherwise = self._control(inner, inner_rest)
            else:
                otherwise = self.block(("end",))
        control = {"if": _if, "with": _with, "range": _range}[word]
        return control(names, pipeline, body, otherwise)


def _constant(value: object) -> Evaluate:
    return lambda _: value


def _concatenation(parts: list[Evaluate]) -> Evaluate:
    return lambda scope: "".join(str(part(scope)) for part in parts)


def _printed(evaluate: Evaluate) -> Evaluate:
    return lambda scope: text_of(evaluate(scope))


def _if(names: list[str], condition: Evaluate, body: Evaluate, otherwise: Evaluate) -> Evaluate:
    def run(scope: Scope) -> Any:
        value = condition(scope)
        inner = scope.inner(scope.dot)
        inner.variables.update(dict.fromkeys(names, value))
        return body(inner) if value else otherwise(scope)

    return run


def _with(names: list[str], subject: Evaluate, body: Evaluate, otherwise: Evaluate) -> Evaluate:
    def run(scope: Scope) -> Any:
        value = subject(scope)
        inner = scope.inner(value)
        inner.variables.update(dict.fromkeys(names, value))
        return body(inner) if value else otherwise(scope)

    return run


def _range(names: list[str], subject: Evaluate, body: Evaluate, otherwise: Evaluate) -> Evaluate:
    def run(scope: Scope) -> Any:
        values = subject(scope)
        if not values:
            return otherwise(scope)
        if not isinstance(values, dict | list | tuple):
            raise _wrong(f"range cannot iterate over {text_of(values)}")
        pairs = sorted(values.items()) if isinstance(values, dict) else enumerate(values)
        told = []
        for key, value in pairs:
            inner = scope.inner(value)
            inner.variables.update(zip(names, (key, value) if len(names) == 2 else (value,), strict=False))
            told.append(str(body(inner)))
        return "".join(told)

    return run


def _declared(text: str) -> tuple[list[str], Evaluate]:
    """Split "$k, $v := pipeline" into the variables and the pipeline."""
    match = re.match(r"\s*(\$\w+)\s*(?:,\s*(\$\w+)\s*)?:=", text)
    if match is None:
        return [], _pipeline(text)
    return [name for name in match.groups() if name], _pipeline(text[match.end() :])


class _Tokens:
    """The tokens of one action: (kind, text, whether it follows the one before without a space)."""

    def __init__(self, text: str) -> None:
        self._all: list[tuple[str, str, bool]] = []
        position = 0
        text = text.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise _wrong(f"unexpected {text[position:].strip()[:20]!r} in {{{{{text}}}}}")
            kind = match.lastgroup or ""
            self._all.append((kind, match[kind], match.start(kind) == position))
            position = match.end()
        self._next = 0

    def peek(self) -> tuple[str, str, bool]:
        return self._all[self._next] if self._next < len(self._all) else ("", "", False)

    def take(self) -> tuple[str, str, bool]:
        token = self.peek()
        self._next += 1
        return token


def _pipeline(text: str) -> Evaluate:
    match = re.match(r"\s*(\$\w+)\s*:?=(.*)", text, re.DOTALL)
    if match:
        return _assignment(match[1], _pipeline(match[2]))
    tokens = _Tokens(text)
    evaluate = _commands(tokens)
    if tokens.peek()[0]:
        raise _wrong(f"unexpected {tokens.peek()[1]!r} in {{{{{text}}}}}")
    return evaluate


def _assignment(name: str, evaluate: Evaluate) -> Evaluate:
    def run(scope: Scope) -> str:
        scope.variables[name] = evaluate(scope)
        return ""

    return run


def _commands(tokens: _Tokens) -> Evaluate:
    """Compile `a b | c d`: the value of each command becomes the last argument of the next."""
    command = _command(tokens, None)
    while tokens.peek()[1] == "|" and tokens.peek()[0] == "mark":
        tokens.take()
        command = _command(tokens, command)
    return command


def _command(tokens: _Tokens, piped: Evaluate | None) -> Evaluate:
    kind, name, _ = tokens.peek()
    function: Evaluate | None = None
    if kind == "word" and name not in _CONSTANTS:
        tokens.take()
        if name not in _FUNCTIONS:
            raise _wrong(f'function "{name}" not defined')
        function = _constant(_FUNCTIONS[name])
    operands = []
    while tokens.peek()[0] and tokens.peek()[1] not in (")", "|"):
        operands.append(_operand(tokens))
    if function is None:
        if not operands:
            raise _wrong("missing value for command")
        function = operands.pop(0)
        if not operands and piped is None:
            return function
    arguments = [*operands, *([piped] if piped else [])]
    return _call(name, function, arguments)


def _call(name: str, function: Evaluate, arguments: list[Evaluate]) -> Evaluate:
    def run(scope: Scope) -> Any:
        callee = function(scope)
        if not callable(callee):
            raise _wrong(f"can't give argument to non-function {name}")
        try:
            return callee(*(argument(scope) for argument in arguments))
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise _wrong(f"error calling {name}: {error}") from error

    return run


def _operand(tokens: _Tokens) -> Evaluate:
    kind, text, _ = tokens.take()
    if kind == "string":
        return _constant(text[1:-1] if text[0] == "`" else _unquoted(text))
    if kind == "number":
        return _constant(float(text) if "." in text else int(text))
    if kind == "word" and text in _CONSTANTS:
        return _constant(_CONSTANTS[text])
    if kind == "variable":
        return _fields(tokens, _variable(text))
    if kind == "field":
        return _fields(tokens, _field(lambda scope: scope.dot, text[1:]))
    if kind == "dot":
        return lambda scope: scope.dot
    if text == "(":
        inner = _commands(tokens)
        if tokens.take()[1] != ")":
            raise _wrong("unclosed left paren")
        return _fields(tokens, inner)
    raise _wrong(f"unexpected {text!r}")


def _variable(name: str) -> Evaluate:
    def run(scope: Scope) -> Any:
        if name not in scope.variables:
            raise _wrong(f"undefined variable {name!r}")
        return scope.variables[name]

    return run


def _fields(tokens: _Tokens, subject: Evaluate) -> Evaluate:
    while tokens.peek()[0] == "field" and tokens.peek()[2]:
        subject = _field(subject, tokens.take()[1][1:])
    return subject


def _field(subject: Evaluate, name: str) -> Evaluate:
    def run(scope: Scope) -> Any:
        value = subject(scope)
        if isinstance(value, Map):
            return value.get(name, _NO_VALUE)
        if not isinstance(value, dict) or name not in value:
            raise _wrong(f"there is no field {name!r}")
        return value[name]

    return run


class _NoValue:
    """What a missing key of a map is: false, and printed as Go does."""

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        return "<no value>"


_NO_VALUE = _NoValue()


def _unquoted(text: str) -> str:
    import json

    try:
        return str(json.loads(text, strict=False))
    except ValueError as error:
        raise _wrong(f"bad string {text}") from error


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

    plain = {k: v for k, v in value.items() if not callable(v)} if isinstance(value, dict) else value
    return json.dumps(None if plain is _NO_VALUE else plain, separators=(",", ":"), ensure_ascii=False)


def _index(value: Any, *keys: Any) -> object:
    for key in keys:
        value = value.get(key, "") if isinstance(value, dict) else value[key]
    return value


def _printf(form: str, *values: object) -> str:
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


_FUNCTIONS: dict[str, Callable[..., object]] = {
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
