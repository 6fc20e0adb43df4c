"""How a pull or a push is shown: a bar for each layer on a terminal, Docker's plain lines elsewhere."""

from __future__ import annotations

import os
import threading
import time

from minirun.cli.output.words import decimal_size
from minirun.registry.progress import PullProgress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

_EVERY = 0.1
"""Seconds between two pictures."""
_BAR = 30
_DONE = ("Pull complete", "Already exists", "Pushed", "Layer already exists", "Mounted from ")


def progress_on(stream: TextIO, *, quiet: bool) -> PullProgress:
    """Return what shows a pull on a stream, or nothing if `quiet`."""
    if quiet:
        return PullProgress()
    return _Bars(stream) if stream.isatty() and os.environ.get("TERM") != "dumb" else _Lines(stream)


class _Lines(PullProgress):
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def begin(self, tag: str, name: str) -> None:
        self._say(f"{tag}: Pulling from {name}")

    def status(self, layer: str, words: str) -> None:
        self._say(f"{layer}: {words}")

    def _say(self, line: str) -> None:
        with self._lock:
            print(line, file=self._stream, flush=True)


class _Bars(_Lines):
    """Redraws the lines of all layers; those at the top that are done scroll away."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        # What each layer is about, and the same in fewer letters for where that does not fit.
        self._layers: dict[str, tuple[str, str]] = {}
        self._drawn = 0
        self._last = 0.0

    def status(self, layer: str, words: str) -> None:
        self._set(layer, words, words, now=True)

    def downloaded(self, layer: str, done: int, size: int) -> None:
        if not self._words(layer).startswith("Extracting"):
            self._set(layer, *_bar("Downloading", done, size))

    def extracted(self, layer: str, done: int, size: int) -> None:
        self._set(layer, *_bar("Extracting ", done, size))

    def uploaded(self, layer: str, done: int) -> None:
        words = f"Pushing {decimal_size(done)}"
        self._set(layer, words, words)

    def finish(self) -> None:
        with self._lock:
            self._draw()
            self._layers.clear()
            self._drawn = 0

    def _words(self, layer: str) -> str:
        return self._layers.get(layer, ("", ""))[0]

    def _set(self, layer: str, words: str, fewer: str, *, now: bool = False) -> None:
        with self._lock:
            if not self._words(layer).startswith(_DONE):
                self._layers[layer] = (words, fewer)
            if now or time.monotonic() - self._last > _EVERY:
                self._draw()

    def _draw(self) -> None:
        self._last = time.monotonic()
        size = os.get_terminal_size(self._stream.fileno())
        columns, rows = size.columns or 80, size.lines or 24  # nobody may have told the terminal
        done = []
        for layer in list(self._layers):
            if not self._words(layer).startswith(_DONE):
                break
            done.append((layer, self._layers.pop(layer)))
        lines = list(self._layers.items())[: max(rows - 2, 1)]
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        text = "".join(_line(layer, forms, max(columns - 1, 1)) for layer, forms in (*done, *lines))
        print(f"{up}\r\x1b[J{text}", end="", file=self._stream, flush=True)
        self._drawn = len(lines)


def _line(layer: str, forms: tuple[str, str], width: int) -> str:
    """Return a layer's line in the longest form that fits, or what fits of the shortest."""
    lines = [f"{layer}: {words}" for words in forms]
    return f"{next((line for line in lines if len(line) <= width), lines[-1][:width])}\n"


def _bar(word: str, done: int, size: int) -> tuple[str, str]:
    """Return how far something is, with and without a bar."""
    filled = _BAR * done // size if size else _BAR
    arrow = ("=" * filled + ">")[:_BAR]
    numbers = f"{decimal_size(done)}/{decimal_size(size)}"
    return f"{word} [{arrow:<{_BAR}}] {numbers}", f"{word} {numbers}"
