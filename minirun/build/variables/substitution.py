"""What `${x#p}`, `${x%p}` and `${x/p/r}` do with a value, as BuildKit does it.

In a pattern, `*` is any text, `?` any character, and a backslash makes one of these, or itself, mean itself.
"""

from __future__ import annotations

from minirun.build.dockerfile.error import DockerfileError

_ESCAPABLE = "*?\\"
# These end parts of a substitution, so a pattern writes them with a backslash that is not part of it.
_ENDS = "}/"


def without_prefix(value: str, pattern: str) -> str:
    """Return a value without the shortest match of a pattern at its beginning; of `#pattern`, the longest."""
    shortest = not pattern.startswith("#")
    import re

    found = re.match(_regex(_tokens(pattern.removeprefix("#")), shortest), value)
    return value[found.end() :] if found else value


def without_suffix(value: str, pattern: str) -> str:
    """Return a value without the shortest match of a pattern at its end; of `%pattern`, the longest."""
    shortest = not pattern.startswith("%")
    import re

    # Read backwards, an end is a beginning, from which a match can be short.
    found = re.match(_regex(_tokens(pattern.removeprefix("%"))[::-1], shortest), value[::-1])
    return value[: len(value) - found.end()] if found else value


def with_replacement(value: str, pattern: str, replacement: str, everywhere: bool) -> str:
    """Return a value with the first longest match of a pattern replaced, or all matches."""
    import re

    result = []
    position = 0
    for found in re.finditer(_regex(_tokens(pattern), shortest=False), value):
        if found.end() == found.start() == position > 0:
            continue  # nothing, right after a match, is no match of its own
        result += [value[position : found.start()], replacement]
        position = found.end()
        if not everywhere:
            break
    return "".join([*result, value[position:]])


def _tokens(pattern: str) -> list[str]:
    """Split a pattern into `*`, `?` and characters that mean themselves, which have a backslash before them."""
    tokens = []
    characters = iter(pattern)
    for char in characters:
        if char == "\\":
            escaped = next(characters, "")
            if not escaped or escaped not in _ESCAPABLE + _ENDS:
                raise DockerfileError(f"invalid pattern ({pattern}) in substitution: invalid escape '\\{escaped}'")
            tokens.append(f"\\{escaped}")
        else:
            tokens.append(char if char in "*?" else f"\\{char}")
    return tokens


def _regex(tokens: list[str], shortest: bool) -> str:
    import re

    star = ".*?" if shortest else ".*"
    return "".join(star if token == "*" else "." if token == "?" else re.escape(token[1:]) for token in tokens)
