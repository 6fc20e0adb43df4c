"""Words of a Dockerfile: quotes and escapes carried out, variables replaced.

Source: Dockerfile reference, "Environment replacement". Where it is silent, words are what BuildKit makes of them: it
follows sh(1), but `$x` that is not set is empty, and `~`, wildcards and `$(...)` mean nothing.
"""

from __future__ import annotations

from minirun.build.dockerfile.error import DockerfileError
from minirun.build.variables.substitution import with_replacement, without_prefix, without_suffix
from minirun.model.jsontext import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_SPECIAL = "@*#?-$!0"  # what sh(1) calls special parameters: a name of one character, and never set here


def expand(word: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """Return what a word stands for, as one text. Raises DockerfileError."""
    return _read(word, Lexer(word, variables, escape))[0]


def expand_to_words(word: str, variables: Mapping[str, str], escape: str = "\\") -> tuple[str, ...]:
    """Return what a word stands for, split at the blanks that are not quoted, those in values too.

    Raises DockerfileError.
    """
    return tuple(_read(word, Lexer(word, variables, escape))[1])


def expand_text(text: str, variables: Mapping[str, str]) -> str:
    r"""Replace the variables in a heredoc's text, where quotes mean nothing and `\` escapes. Raises DockerfileError."""
    return _read(text, Lexer(text, variables, "\\", quotes=""))[0]


def _read(source: str, lexer: Lexer) -> tuple[str, list[str]]:
    try:
        return lexer.read()
    except DockerfileError as error:
        raise DockerfileError(f"failed to process {quoted(source)}: {error.reason}", error.hint) from None
    except RecursionError:
        raise DockerfileError("a word has too many substitutions within one another") from None


class Lexer:
    """Reads a text from its beginning to its end once.

    `keep_quotes` and `keep_escapes` leave these characters in what comes out, `keep_unset` leaves variables that are
    not set as they are written; `quotes` are the characters that quote.
    """

    def __init__(
        self,
        text: str,
        variables: Mapping[str, str],
        escape: str,
        quotes: str = "'\"",
        keep_quotes: bool = False,
        keep_escapes: bool = False,
        keep_unset: bool = False,
    ) -> None:
        self.text = text
        self.variables = variables
        self.escape = escape
        self.quotes = quotes
        self.keep_quotes = keep_quotes
        self.keep_escapes = keep_escapes
        self.keep_unset = keep_unset
        self.position = 0

    def read(self, end: str = "") -> tuple[str, list[str]]:
        """Read up to the character `end`, or all; return it as one text and as words. Raises DockerfileError."""
        result: list[str] = []
        words = _Words()
        while char := self._take():
            if char == end:
                return "".join(result), words.finish()
            if char == "$":
                part = self._dollar()
                words.add_splitting(part)
            elif char in self.quotes:
                part = self._quotation(char)
                words.add(part)
            elif char == self.escape:
                following = self._take()
                part = (char if self.keep_escapes else "") + following
                if part:
                    words.add(part)
            else:
                part = char
                words.add_splitting(part)
            result.append(part)
        if end:
            raise DockerfileError(f"unexpected end of statement while looking for matching {end}")
        return "".join(result), words.finish()

    def _peek(self) -> str:
        return self.text[self.position : self.position + 1]

    def _take(self) -> str:
        char = self._peek()
        self.position += len(char)
        return char

    def _quotation(self, quote: str) -> str:
        content = self._single() if quote == "'" else self._double()
        return f"{quote}{content}{quote}" if self.keep_quotes else content

    def _single(self) -> str:
        """Read what follows a single quote: everything up to the next one means itself."""
        end = self.text.find("'", self.position)
        if end < 0:
            self.position = len(self.text)
            raise DockerfileError("unexpected end of statement while looking for matching single-quote")
        content = self.text[self.position : end]
        self.position = end + 1
        return content

    def _double(self) -> str:
        """Read what follows a double quote: variables are replaced, and only some characters can be escaped."""
        result: list[str] = []
        while char := self._take():
            if char == '"':
                return "".join(result)
            if char == "$":
                result.append(self._dollar())
                continue
            if char == self.escape and self._peek():
                if self.keep_escapes:
                    result.append(char)
                if self._peek() in ('"', "$", self.escape):
                    char = self._take()
            result.append(char)
        raise DockerfileError("unexpected end of statement while looking for matching double-quote")

    def _dollar(self) -> str:
        """Read what follows a `$`, and return its value."""
        if self._peek() == "{":
            self._take()
            return self._braces()
        name = self._name()
        if not name:
            return "$"
        if name not in self.variables and self.keep_unset:
            return f"${name}"
        return self.variables.get(name, "")

    def _name(self) -> str:
        """Read a name: letters, digits and `_`; or digits alone; or one special parameter."""
        start = self.position
        if self._peek().isdecimal():
            while self._peek().isdecimal():
                self.position += 1
        elif self._peek() and self._peek() in _SPECIAL:
            self.position += 1
        else:
            while self._peek().isalpha() or self._peek().isdecimal() or self._peek() == "_":
                self.position += 1
        return self.text[start : self.position]

    def _braces(self) -> str:
        """Read what follows `${`, with the `}`, and return its value."""
        if not self._peek():
            raise DockerfileError("syntax error: missing '}'")
        if self._peek() in "{}:":
            raise DockerfileError("syntax error: bad substitution")
        start = self.position
        name = self._name()
        value = self.variables.get(name)
        operator = self._take()
        if not operator:
            raise DockerfileError("syntax error: missing '}'")
        if operator == "}":
            result = value or ""
        elif operator == "/":
            result = self._replace(value or "")
        else:
            if operator == ":":
                operator += self._take()
            result = self._modify(name, operator, value)
        if value is None and self.keep_unset:
            return "${" + self.text[start : self.position]
        return result

    def _modify(self, name: str, operator: str, value: str | None) -> str:
        """Carry out `${name-word}` and those like it, whose word follows."""
        kind = operator[-1:]
        if operator not in ("-", "+", "?", ":-", ":+", ":?", "#", "%"):
            raise DockerfileError(f"unsupported modifier ({operator}) in substitution")
        word = self._upto("}", "syntax error: missing '}'", keep_escapes=kind in "#%")
        if kind == "#":
            return without_prefix(value or "", word)
        if kind == "%":
            return without_suffix(value or "", word)
        usable = value is not None and not (operator.startswith(":") and not value)
        if kind == "+":
            return word if usable else ""
        if value is not None and usable:
            return value
        if kind == "-" or self.keep_unset:
            return word
        lacking = "unset" if value is None else "empty"
        raise DockerfileError(f"{name}: {word or f'is not allowed to be {lacking}'}")

    def _replace(self, value: str) -> str:
        """Carry out `${name/pattern/replacement}`, from after its first slash."""
        everywhere = self._peek() == "/"
        if everywhere:
            self._take()
        pattern = self._upto("/", "syntax error: missing '/' in ${}", keep_escapes=True)
        replacement = self._upto("}", "syntax error: missing '}'", keep_escapes=True)
        return with_replacement(value, pattern, replacement, everywhere)

    def _upto(self, end: str, lacking: str, keep_escapes: bool) -> str:
        """Read a word within a substitution, which may have others in it."""
        before, self.keep_escapes = self.keep_escapes, keep_escapes
        try:
            return self.read(end)[0]
        except DockerfileError:
            if not self._peek():
                raise DockerfileError(lacking) from None
            raise
        finally:
            self.keep_escapes = before


class _Words:
    """Collects words from parts, some of which split at blanks."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.word = ""

    def add(self, part: str) -> None:
        """Add to the word at hand: what was quoted, blanks and all."""
        self.word += part

    def add_splitting(self, part: str) -> None:
        """Add to the word at hand, which ends at each blank."""
        for char in part:
            if not char.isspace():
                self.word += char
            elif self.word:
                self.found.append(self.word)
                self.word = ""

    def finish(self) -> list[str]:
        """Return the words. An empty quotation makes none."""
        return [*self.found, self.word] if self.word else self.found
