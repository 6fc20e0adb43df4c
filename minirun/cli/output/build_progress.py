"""How a build is shown: BuildKit's plain lines, each with the number of its step, on standard error.

#3 [2/4] RUN make
#3 0.412 cc -o hello hello.c
#3 DONE 0.6s
"""

from __future__ import annotations

import os
import time

from minirun.build.dockerfile.error import DockerfileError
from minirun.build.request import Progress
from minirun.build.stage import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from minirun.build.request import BuildRequest
    from minirun.errors import MinirunError

# Of what a step has written that failed, the last lines are shown once more at the end.
_KEPT_LINES = 20
_CONTEXT_LINES = 3
# What has no end of line is cut here, in characters; and of those that are shown once more, less.
_LINE_MAX = 64 << 10
_KEPT_LENGTH = 1000


def progress_on(stream: TextIO, style: str, *, quiet: bool) -> BuildProgress:
    """Return what shows a build on a stream; if `quiet`, nothing but what has failed."""
    if quiet:
        return BuildProgress(stream)
    colour = style == "tty" or (style == "auto" and stream.isatty() and os.environ.get("TERM") != "dumb")
    return _Plain(stream, bold=colour)


class BuildProgress(Progress):
    """Shows nothing, and remembers what is worth knowing of a step that fails."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._titles: dict[int, str] = {}
        self._last_lines: dict[int, list[str]] = {}
        self._rest: dict[int, str] = {}
        self._failed = 0

    def begin(self, step: int, title: str) -> None:
        self._titles[step] = title
        self._last_lines[step] = []

    def output(self, step: int, data: bytes) -> None:
        *lines, rest = (self._rest.get(step, "") + data.decode(errors="replace")).split("\n")
        if len(rest) > _LINE_MAX:
            lines.append(rest)
            rest = ""
        self._rest[step] = rest
        for line in lines:
            self._line(step, line.rstrip("\r"))

    def done(self, step: int, seconds: float) -> None:  # noqa: ARG002
        self._end_line(step)

    def failed(self, step: int, reason: str) -> None:  # noqa: ARG002
        self._end_line(step)
        self._failed = step

    def explain(self, error: MinirunError, request: BuildRequest) -> None:
        """Show where in the Dockerfile a build has failed, and the end of what the step has written."""
        if self._failed:
            self._say("------", f" > {self._titles[self._failed]}:", *self._last_lines[self._failed], "------")
        if isinstance(error, StepError | DockerfileError) and error.line:
            self._say(*_excerpt(request, error.line, getattr(error, "last_line", error.line)))

    def exported(self, image_id: str, names: list[str]) -> None:
        """Tell of the image that is done."""

    def _end_line(self, step: int) -> None:
        if self._rest.get(step):
            self._line(step, self._rest.pop(step))

    def _line(self, step: int, line: str) -> None:
        self._last_lines[step] = [*self._last_lines[step][1 - _KEPT_LINES :], line[:_KEPT_LENGTH]]

    def _say(self, *lines: str) -> None:
        print(*lines, sep="\n", file=self._stream, flush=True)


class _Plain(BuildProgress):
    def __init__(self, stream: TextIO, *, bold: bool) -> None:
        super().__init__(stream)
        self._bold = bold
        self._numbers: dict[int, int] = {}
        self._began: dict[int, float] = {}
        self._spoke = 0

    def begin(self, step: int, title: str) -> None:
        super().begin(step, title)
        self._numbers[step] = len(self._numbers) + 1
        self._began[step] = time.monotonic()
        self._tell(step, f"\033[1m{title}\033[0m" if self._bold else title)

    def cached(self, step: int) -> None:
        self._tell(step, "CACHED")

    def done(self, step: int, seconds: float) -> None:
        super().done(step, seconds)
        self._tell(step, f"DONE {seconds:.1f}s")

    def failed(self, step: int, reason: str) -> None:
        super().failed(step, reason)
        self._tell(step, f"ERROR: {reason}")

    def exported(self, image_id: str, names: list[str]) -> None:
        number = len(self._numbers) + 1
        lines = ["", f"#{number} exporting to image", f"#{number} writing image {image_id} done"]
        self._say(*lines, *(f"#{number} naming to {name} done" for name in names))

    def _line(self, step: int, line: str) -> None:
        super()._line(step, line)
        self._tell(step, f"{time.monotonic() - self._began[step]:.3f} {line}")

    def _tell(self, step: int, words: str) -> None:
        if self._spoke not in (0, step):
            self._say("")
        self._spoke = step
        self._say(f"#{self._numbers[step]} {words}")


def _excerpt(request: BuildRequest, first: int, last: int) -> list[str]:
    """Return the lines of the Dockerfile that are to blame, and a few around them."""
    lines = request.dockerfile.splitlines()
    shown = range(max(1, first - _CONTEXT_LINES), min(len(lines), last + _CONTEXT_LINES) + 1)
    marked = (f"{number:4} | {'>>>' if first <= number <= last else '   '} {lines[number - 1]}" for number in shown)
    return [f"{request.dockerfile_name}:{first}", "-" * 20, *marked, "-" * 20]
