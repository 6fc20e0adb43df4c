"""The flags of an instruction: which there are, and what kind of value each takes.

Source: Dockerfile reference, the synopsis of each instruction.
"""

from __future__ import annotations

from minirun.build.dockerfile.error import DockerfileError
from minirun.build.dockerfile.spelling import did_you_mean

_TEXT, _TRUTH, _LIST = "text", "truth", "list"
_FILES = {"chown": _TEXT, "chmod": _TEXT, "link": _TRUTH, "exclude": _LIST}
_KNOWN = {
    "FROM": {"platform": _TEXT},
    "RUN": {"mount": _LIST, "network": _TEXT, "security": _TEXT, "device": _LIST},
    "COPY": {**_FILES, "from": _TEXT, "parents": _TRUTH},
    "ADD": {**_FILES, "checksum": _TEXT, "keep-git-dir": _TRUTH, "unpack": _TRUTH},
    "HEALTHCHECK": dict.fromkeys(("interval", "timeout", "start-period", "start-interval", "retries"), _TEXT),
}


class Flags:
    """The flags that an instruction was given."""

    def __init__(self, instruction: str, words: list[str]) -> None:
        """Read the words that begin with `--`. Raises DockerfileError for those that the instruction does not take."""
        known = _KNOWN.get(instruction, {})
        self._texts: dict[str, str] = {}
        self._truths: dict[str, bool] = {}
        self._lists: dict[str, list[str]] = {}
        for word in words:
            name, equals, value = word[2:].partition("=")
            kind = known.get(name)
            if kind is None:
                raise DockerfileError(f"unknown flag: --{name}", did_you_mean(f"--{name}", [f"--{k}" for k in known]))
            if name in self._texts or name in self._truths:
                raise DockerfileError(f"Duplicate flag specified: --{name}")
            if kind == _TRUTH:
                self._truths[name] = _truth(name, value if equals else "true")
            elif not equals:
                raise DockerfileError(f"missing a value on flag: --{name}")
            elif kind == _TEXT:
                self._texts[name] = value
            else:
                self._lists.setdefault(name, []).append(value)

    def text(self, name: str) -> str:
        """Return a flag's value, or an empty text."""
        return self._texts.get(name, "")

    def is_set(self, name: str) -> bool:
        """Say whether a flag was given, and not as `=false`."""
        return self._truths.get(name, False)

    def choice(self, name: str) -> bool | None:
        """Return a flag's truth, or None if it was not given."""
        return self._truths.get(name)

    def all(self, name: str) -> tuple[str, ...]:
        """Return the values of a flag that may be given several times."""
        return tuple(self._lists.get(name, ()))


def _truth(name: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise DockerfileError(f"Expecting boolean value for flag --{name}, not: {value}")
    return value.lower() == "true"
