"""Parser directives: comments at the very top of a Dockerfile that say how the rest is to be read.

Source: Dockerfile reference, "Parser directives".
"""

from __future__ import annotations

from minirun.build.dockerfile.error import DockerfileError
from minirun.model.record import Record

_KNOWN = ("syntax", "escape", "check")
# The frontends whose language this is: any version of Docker's own.
_FRONTEND = "docker/dockerfile"


class Directives(Record):
    """What the directives say: the frontend's image and the checks' settings as written, and the escape character."""

    syntax: str = ""
    escape: str = "\\"
    checks: str = ""


def read_directives(lines: list[str]) -> Directives:
    """Read the directives at the top of a file. Raises DockerfileError.

    The first line that is no directive (another comment, a blank line, an instruction) ends them.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        name, value = _directive(line)
        if name not in _KNOWN or not value:
            break
        if name in found:
            raise DockerfileError(f"only one {name} parser directive can be used", line=number)
        _check(name, value, number)
        found[name] = value
    return Directives(found.get("syntax", ""), found.get("escape", "\\"), found.get("check", ""))


def _directive(line: str) -> tuple[str, str]:
    """Return name and value of a line such as "# Escape = `", or empty texts."""
    text = line.strip()
    if not text.startswith("#"):
        return "", ""
    name, _, value = text[1:].partition("=")
    return name.strip().lower(), value.strip()


def _check(name: str, value: str, line: int) -> None:
    if name == "escape" and value not in ("\\", "`"):
        raise DockerfileError(f"invalid escape token '{value}' does not match ` or \\", line=line)
    if name == "syntax" and not _is_own_frontend(value):
        raise DockerfileError(
            f"the syntax {value} is not supported",
            f"minirun reads the language of {_FRONTEND} itself and runs no other frontend.",
            line,
        )


def _is_own_frontend(image: str) -> bool:
    name = image.partition("@")[0].removeprefix("docker.io/")
    return name.partition(":")[0] in (_FRONTEND, f"{_FRONTEND}-upstream")
