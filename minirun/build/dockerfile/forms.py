"""The forms that an instruction's arguments are written in: JSON, words, names and values, flags.

Words keep their quotes and escapes. Source: Dockerfile reference, "Shell and exec form", "ENV"; BuildKit for the rest.
"""

from __future__ import annotations

from minirun.build.dockerfile.error import DockerfileError
from minirun.build.dockerfile.lines import BLANKS
from minirun.model import jsontext


def split_first(text: str) -> tuple[str, str]:
    """Split a text at its first blanks: "RUN  a b" is "RUN" and "a b"."""
    text = text.strip()
    end = next((i for i, c in enumerate(text) if c in BLANKS), len(text))
    return text[:end], text[end:].strip()


def json_words(text: str) -> tuple[str, ...] | None:
    """Return the texts of a JSON array, or None for what is none: that is then a shell form or words.

    Raises DockerfileError for an array of other things than texts, which nobody means otherwise.
    """
    text = text.lstrip()
    if not text.startswith("["):
        return None
    try:
        value = jsontext.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, list):
        return None
    if not all(isinstance(item, str) for item in value):
        raise DockerfileError("when using JSON array syntax, arrays must be comprised of strings only")
    if any("\0" in item for item in value):
        raise DockerfileError("a word of a JSON array holds a NUL character")
    return tuple(_well_formed(item) for item in value)


def _well_formed(text: str) -> str:
    r"""Return a text from JSON without the halves of pairs that `\ud800` may write: Go puts U+FFFD in their place."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def words(text: str, escape: str) -> list[str]:
    """Split at blanks that are neither quoted nor escaped: what ENV, LABEL and ARG do. Quotes and escapes stay.

    A quotation that does not end takes all that follows.
    """
    found: list[str] = []
    word: list[str] = []
    quote = ""
    position = 0
    while position < len(text):
        char = text[position]
        position += 1
        if char == escape and quote != "'":
            word.append(char + text[position : position + 1])
            position += 1
        elif quote:
            word.append(char)
            quote = "" if char == quote else quote
        elif char.isspace():
            if word:
                found.append("".join(word))
            word = []
        else:
            word.append(char)
            quote = char if char in "'\"" else ""
    if word:
        found.append("".join(word))
    return found


def pairs(text: str, escape: str, instruction: str) -> tuple[tuple[str, str], ...]:
    """Read NAME=VALUE..., or the old form NAME VALUE, in which the value is the rest of the line.

    Raises DockerfileError.
    """
    found = words(text, escape)
    if not found:
        raise DockerfileError(f"{instruction} requires at least one argument")
    if "=" not in found[0]:
        name, value = split_first(text)
        if not value:
            raise DockerfileError(f"{instruction} must have two arguments")
        return ((name, value),)
    for word in found:
        if "=" not in word:
            raise DockerfileError(
                f"Syntax error - can't find = in {jsontext.quoted(word)}. Must be of the form: name=value"
            )
        if word.startswith("="):
            raise DockerfileError(f"{instruction} names can not be blank")
    return tuple((name, value) for name, _, value in (word.partition("=") for word in found))


def split_flags(text: str) -> tuple[list[str], str]:
    """Take the flags off the beginning of an instruction's arguments: words that begin with `--`, up to one `--`.

    Returns them with quotes and escapes carried out (by a backslash, whatever the escape directive says), and the rest.
    """
    found: list[str] = []
    while text.startswith("--"):
        word, text = _flag(text)
        text = text.lstrip()
        if word == "--":
            break
        found.append(word)
    return found, text


def _flag(text: str) -> tuple[str, str]:
    """Return the first word without its quotes and escapes, and what follows it."""
    word = ""
    quote = ""
    characters = iter(text)
    position = 0
    for char in characters:
        position += 1
        if char == "\\":
            word += next(characters, "")
            position += 1
        elif quote:
            word += "" if char == quote else char
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char.isspace():
            break
        else:
            word += char
    return word, text[position:]
