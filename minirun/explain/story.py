"""A trace as a story: steps with their reason, below them the operations with arguments, result, time and man page."""

from __future__ import annotations

import re

from minirun.errors import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minirun.kernel.trace import Event

_BOLD, _DIM, _RED, _GREEN, _CYAN, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[36m", "\x1b[0m"
_COLOURS = re.compile("\x1b\\[[0-9;]*m")
_LONGEST_ARGUMENT = 160
_LONG_ID = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")


class Story:
    """Turns events into lines. A step is announced once, with its first operation; inner steps are indented."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours
        self._announced: dict[int, tuple[tuple[str, str, str], ...]] = {}
        self._last_pid = 0

    def lines(self, event: Event) -> list[str]:
        """Return the lines that tell `event`, after what has been told before."""
        lines = [*self._process(event), *self._steps(event), *self._operation(event)]
        return lines if self._colours else [_COLOURS.sub("", line) for line in lines]

    def _process(self, event: Event) -> Iterator[str]:
        if event.pid != self._last_pid:
            yield f"{_CYAN}-- {event.process} (process {event.pid}){_RESET}"
            # The reader has lost sight of this process: say again which step it is in.
            self._announced.pop(event.pid, None)
            self._last_pid = event.pid

    def _steps(self, event: Event) -> Iterator[str]:
        before = self._announced.get(event.pid, ())
        depth = 0
        while depth < min(len(before), len(event.steps)) and before[depth] == event.steps[depth]:
            depth += 1
        for level, (title, topic, why) in enumerate(event.steps[depth:], depth):
            indent = "  " * level
            about = f"  {_DIM}[{topic}]{_RESET}" if topic else ""
            yield f"{indent}{_BOLD}* {_shorten(title)}{_RESET}{about}"
            if why:
                yield f"{indent}  {_DIM}{printable(why)}{_RESET}"
        self._announced[event.pid] = event.steps

    def _operation(self, event: Event) -> Iterator[str]:
        indent = "  " * (len(event.steps) + 1)
        arguments = ", ".join(f"{name}={_shorten(value)}" for name, value in event.arguments.items())
        colour, outcome = (_RED, event.error) if event.error else (_GREEN, _shorten(event.result) or "ok")
        about = f"{_time(event.duration_ns)}  {event.man}".rstrip()
        yield f"{indent}{event.operation}({arguments}) = {colour}{outcome}{_RESET}  {_DIM}{about}{_RESET}"
        if event.shell:
            first, *more = event.shell.split("\n")
            yield f"{indent}{_DIM}$ {printable(first)}{_RESET}"
            yield from (f"{indent}{_DIM}  {printable(line)}{_RESET}" for line in more)


def _time(nanoseconds: int) -> str:
    if nanoseconds < 1_000_000:
        return f"{nanoseconds / 1000:.0f} us"
    if nanoseconds < 1_000_000_000:
        return f"{nanoseconds / 1_000_000:.1f} ms"
    return f"{nanoseconds / 1_000_000_000:.2f} s"


def _shorten(text: str) -> str:
    text = _LONG_ID.sub(r"\1...", printable(text))
    return text if len(text) <= _LONGEST_ARGUMENT else f"{text[:_LONGEST_ARGUMENT]}... ({len(text)} characters)"
