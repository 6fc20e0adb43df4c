"""The bars of a pull on a terminal: narrow, without a size, resized meanwhile, with more layers than rows."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

import pytest
from support.image_archives import digest, entry, tar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.fake_registry import FakeRegistry, Handler
    from support.terminal import Terminal

# What is read at once, and what a blob has of it.
CHUNK, CHUNKS = 1 << 18, 40
LAYERS = [tar(entry(f"{number}", b"x" * size)) for number, size in enumerate((10, CHUNK * (CHUNKS - 1), 10))]
PAUSE = 0.12  # a little longer than between two pictures


class Screen:
    """What a terminal shows that got this output; it knows what the bars use, and nothing else."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.lines = [""]
        self.row = self.column = 0

    def feed(self, output: str) -> Screen:
        for part in re.findall(r"\x1b\[\d*[A-Z]|\r|\n|[^\x1b\r\n]+|\x1b", output):
            if part == "\r":
                self.column = 0
            elif part == "\n":
                self.row += 1
                self.lines += [""] * (self.row + 1 - len(self.lines))
            elif match := re.fullmatch(r"\x1b\[(\d+)A", part):
                self.row -= int(match[1])
                assert self.row >= 0, "the cursor goes above what minirun has written"
            elif part == "\x1b[J":
                self.lines = [*self.lines[: self.row], self.lines[self.row][: self.column]]
            else:
                assert part[0] != "\x1b", f"unknown: {part!r}"
                assert part.isprintable()
                line = self.lines[self.row].ljust(self.column)
                self.lines[self.row] = line[: self.column] + part + line[self.column + len(part) :]
                self.column += len(part)
                assert self.column < max(self.columns, 2), f"{part!r} does not fit"
        return self


def pull(
    terminal: Callable[..., Terminal], registry: FakeRegistry, root: Path, rows: int, columns: int
) -> tuple[Terminal, str]:
    window = terminal("--root", str(root), "pull", f"{registry.host}/a:1", rows=rows, columns=columns)
    window.expect(r"Pulling from a\r\n")
    return window, f"{registry.host}/a:1"


def bars(window: Terminal) -> str:
    """Return what a pull has shown before its last lines."""
    return window.shown.partition("Pulling from a\r\n")[2].partition("Digest: ")[0]


@pytest.fixture
def held(registry: FakeRegistry) -> threading.Event:
    """Serve an image whose second layer comes slowly until the event is set."""
    registry.add_image("1", LAYERS)
    event = threading.Event()

    def serve(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(LAYERS[1])))
        handler.end_headers()
        for at in range(0, len(LAYERS[1]), CHUNK):
            handler.wfile.write(LAYERS[1][at : at + CHUNK])
            event.wait(PAUSE)

    registry.fail_once(digest(LAYERS[1]), serve)
    return event


@pytest.mark.parametrize(("rows", "columns"), [(24, 80), (24, 20), (2, 200), (1, 1), (0, 0)])
def test_the_end_is_complete_lines(
    terminal: Callable[..., Terminal],
    registry: FakeRegistry,
    held: threading.Event,
    tmp_path: Path,
    rows: int,
    columns: int,
) -> None:
    window, name = pull(terminal, registry, tmp_path, rows, columns)
    ids = [digest(layer)[7:19] for layer in LAYERS]
    if columns != 1:
        window.expect(f"{ids[1]}: Downl" if columns == 20 else rf"{ids[1]}: Downloading \[=*> +\] \d\S+/10.2MB")
    held.set()
    assert window.wait() == 0
    shown = bars(window)
    assert window.is_restored()
    screen = Screen(columns or 80).feed(shown)
    width = max((columns or 80) - 1, 1)
    assert screen.lines == [*(f"{one}: Pull complete"[:width] for one in ids), ""]
    assert screen.column == 0
    assert window.output.splitlines()[-1] == name


def test_a_narrow_terminal_has_room_for_numbers(
    terminal: Callable[..., Terminal], registry: FakeRegistry, held: threading.Event, tmp_path: Path
) -> None:
    window, _ = pull(terminal, registry, tmp_path, 24, 40)
    window.expect(rf"{digest(LAYERS[1])[7:19]}: Downloading \d\S+/10.2MB")
    held.set()
    assert window.wait() == 0


def test_resized_meanwhile(
    terminal: Callable[..., Terminal], registry: FakeRegistry, held: threading.Event, tmp_path: Path
) -> None:
    window, _ = pull(terminal, registry, tmp_path, 24, 100)
    window.expect("Downloading ")
    window.resize(5, 30)
    held.set()
    assert window.wait() == 0
    shown = bars(window)
    last = [picture for picture in shown.split("\x1b[J") if "Pull complete" in picture][-1]
    assert all(len(line) < 30 for line in last.splitlines())


def test_more_layers_than_rows(terminal: Callable[..., Terminal], registry: FakeRegistry, tmp_path: Path) -> None:
    layers = [tar(entry(f"{number}", b"x")) for number in range(30)]
    registry.add_image("1", layers)
    window, _ = pull(terminal, registry, tmp_path, 6, 60)
    assert window.wait() == 0
    shown = bars(window)
    assert max(int(number) for number in re.findall(r"\x1b\[(\d+)A", shown)) <= 5
    screen = Screen(60).feed(shown)
    assert screen.lines == [*(f"{digest(layer)[7:19]}: Pull complete" for layer in layers), ""]


@pytest.mark.parametrize("how", ["Ctrl-C", "an error"])
def test_an_end_in_the_middle(
    terminal: Callable[..., Terminal], registry: FakeRegistry, held: threading.Event, tmp_path: Path, how: str
) -> None:
    if how == "an error":
        registry.fail_once(digest(LAYERS[2]), lambda handler: handler.error(404, "BLOB_UNKNOWN"))
    window, _ = pull(terminal, registry, tmp_path, 24, 80)
    window.expect("Downloading ")
    if how == "Ctrl-C":
        window.send("\x03")
    else:
        held.set()
    assert window.wait() == (130 if how == "Ctrl-C" else 1)
    assert window.is_restored()
    last = window.output.rpartition("\x1b[J")[2]
    assert last.replace("^C", "").endswith("\n")
    assert how == "Ctrl-C" or re.search(r"\nminirun: [^\n]*blob unknown", last)
    held.set()
