"""HEALTHCHECK: a command, how often it runs, and how long it may take.

Source: Dockerfile reference, "HEALTHCHECK".
"""

from __future__ import annotations

from minirun.build.dockerfile.error import DockerfileError
from minirun.build.dockerfile.forms import json_words, split_first
from minirun.build.dockerfile.instructions import Healthcheck
from minirun.engine.durations import duration_ns
from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.build.dockerfile.written import Written

_SHORTEST = 1_000_000  # nanoseconds: Docker's API takes nothing below a millisecond
_RETRIES_MAX = (1 << 31) - 1


def read_healthcheck(written: Written) -> Healthcheck:
    """Read `[OPTIONS] CMD command` or `NONE`. Raises DockerfileError."""
    if not written.arguments:
        raise DockerfileError("HEALTHCHECK requires at least one argument")
    kind, rest = split_first(written.arguments)
    if kind.upper() == "NONE":
        if rest:
            raise DockerfileError("HEALTHCHECK NONE takes no arguments")
        return Healthcheck(**written.place, disabled=True)
    if kind.upper() != "CMD":
        raise DockerfileError(f'Unknown type "{kind.upper()}" in HEALTHCHECK (try CMD)')
    argv = json_words(rest)
    if not rest or argv == ():
        raise DockerfileError("Missing command after HEALTHCHECK CMD")
    return Healthcheck(
        **written.place,
        command=rest if argv is None else "",
        argv=argv,
        interval=_duration(written, "interval"),
        timeout=_duration(written, "timeout"),
        start_period=_duration(written, "start-period"),
        start_interval=_duration(written, "start-interval"),
        retries=_retries(written.flags.text("retries")),
    )


def _duration(written: Written, name: str) -> int:
    """Return a flag's nanoseconds, 0 if it was not given."""
    text = written.flags.text(name)
    if text in ("", "0"):
        return 0
    try:
        duration = duration_ns(text)
    except MinirunError:
        raise DockerfileError(f'time: invalid duration "{text}"', f"For example --{name}=30s.") from None
    if 0 < duration < _SHORTEST:
        raise DockerfileError(f'Interval "{name}" cannot be less than 1ms')
    return duration


def _retries(text: str) -> int:
    if not text:
        return 0
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 10 or int(digits) > _RETRIES_MAX:
        raise DockerfileError(f'"{text}" is not a number of retries', "For example --retries=3.")
    if int(text) < 0:
        raise DockerfileError(f"--retries cannot be negative ({text})")
    return int(text)
