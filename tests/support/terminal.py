"""A terminal for a program under test, and the person who sits there."""

from __future__ import annotations

import os
import re
import select
import subprocess
import termios
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .commands import Minirun


class Terminal:
    """A program on a terminal of its own, and the person who sits there.

    `shown` is all that it has written, `output` what `expect` has not passed yet.
    """

    def __init__(self, command: Sequence[str], rows: int = 24, columns: int = 80) -> None:
        self._controller, self._terminal = os.openpty()
        self.resize(rows, columns)
        self.settings = termios.tcgetattr(self._terminal)
        self.output = self.shown = ""
        ends = {"stdin": self._terminal, "stdout": self._terminal, "stderr": self._terminal}
        # setsid(1) makes the terminal the controlling one.
        self.process = subprocess.Popen(["setsid", "--ctty", *command], **ends)  # type: ignore[call-overload]

    def resize(self, rows: int, columns: int) -> None:
        """Change the window's size; the foreground processes get SIGWINCH."""
        termios.tcsetwinsize(self._controller, (rows, columns))

    def send(self, text: str) -> None:
        """Type `text`."""
        os.write(self._controller, text.encode())

    def expect(self, pattern: str, timeout: float = 30) -> re.Match[str]:
        """Wait until the output after the last match matches the regular expression; forget it up to there."""
        deadline = time.monotonic() + timeout
        while not (match := re.search(pattern, self.output)):
            remaining = deadline - time.monotonic()
            if remaining <= 0 or not self._read(remaining):
                pytest.fail(f"the terminal did not show {pattern!r} but {self.output!r}")
        self.output = self.output[match.end() :]
        return match

    def wait(self, timeout: float = 30) -> int:
        """Wait for the program's end and return its exit status; `output` has the rest of what it showed."""
        deadline = time.monotonic() + timeout
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                pytest.fail(f"the program on the terminal still runs; it showed {self.output!r}")
            self._read(0.05)
        while self._read(0):
            pass
        return int(self.process.returncode)

    def is_restored(self) -> bool:
        """Say whether the terminal's settings are what they were before the program ran."""
        return termios.tcgetattr(self._terminal) == self.settings

    def _read(self, timeout: float) -> bool:
        if not select.select([self._controller], [], [], timeout)[0]:
            return False
        data = os.read(self._controller, 65536).decode(errors="replace")
        self.output += data
        self.shown += data
        return True

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._controller)
        os.close(self._terminal)


@pytest.fixture
def terminal(minirun: Minirun) -> Iterator[Callable[..., Terminal]]:
    """Return a function that runs minirun on a terminal: `terminal("run", "-it", "busybox", rows=30, columns=100)`.

    With `program`, that runs instead.
    """
    opened: list[Terminal] = []

    def start(*arguments: str, rows: int = 24, columns: int = 80, program: str = "") -> Terminal:
        opened.append(Terminal([program or str(minirun.executable), *arguments], rows, columns))
        return opened[-1]

    yield start
    for each in opened:
        each.close()
