"""Go templates such as `--format '{{.ID}}: {{.Names}}'`.

They are the part of Go's text/template (pkg.go.dev/text/template) that Docker's users type: fields, pipelines,
variables, `if`, `range`, `with`, and Docker's functions. A template is compiled once into Python functions and then
called for each row.
"""

from __future__ import annotations

import re

from minirun.cli.output.template_functions import FUNCTIONS, NO_VALUE, Map, text_of, wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Evaluate = Callable[["Scope"], Any]


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
            raise wrong("unclosed action")
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
                raise wrong(f"unexpected {{{{{word}}}}}")
            parts.append(self._control(word, rest) if word in _KEYWORDS else _printed(_pipeline(content)))
        if enders:
            raise wrong("unexpected end of the template, {{end}} is missing")
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
            raise wrong(f"range cannot iterate over {text_of(values)}")
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
                raise wrong(f"unexpected {text[position:].strip()[:20]!r} in {{{{{text}}}}}")
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
        raise wrong(f"unexpected {tokens.peek()[1]!r} in {{{{{text}}}}}")
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
        if name not in FUNCTIONS:
            raise wrong(f'function "{name}" not defined')
        function = _constant(FUNCTIONS[name])
    operands = []
    while tokens.peek()[0] and tokens.peek()[1] not in (")", "|"):
        operands.append(_operand(tokens))
    if function is None:
        if not operands:
            raise wrong("missing value for command")
        function = operands.pop(0)
        if not operands and piped is None:
            return function
    arguments = [*operands, *([piped] if piped else [])]
    return _call(name, function, arguments)


def _call(name: str, function: Evaluate, arguments: list[Evaluate]) -> Evaluate:
    def run(scope: Scope) -> Any:
        callee = function(scope)
        if not callable(callee):
            raise wrong(f"can't give argument to non-function {name}")
        try:
            return callee(*(argument(scope) for argument in arguments))
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise wrong(f"error calling {name}: {error}") from error

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
            raise wrong("unclosed left paren")
        return _fields(tokens, inner)
    raise wrong(f"unexpected {text!r}")


def _variable(name: str) -> Evaluate:
    def run(scope: Scope) -> Any:
        if name not in scope.variables:
            raise wrong(f"undefined variable {name!r}")
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
            return value.get(name, NO_VALUE)
        if not isinstance(value, dict) or name not in value:
            raise wrong(f"there is no field {name!r}")
        return value[name]

    return run


def _unquoted(text: str) -> str:
    import json

    try:
        return str(json.loads(text, strict=False))
    except ValueError as error:
        raise wrong(f"bad string {text}") from error
