"""Following a log that grows, is rotated or emptied, until the container ends."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from log_entries import SECOND, entry, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FOLLOW = """
import socket, sys
from minirun.engine.logs import read_logs
until = int(sys.argv[3]) if len(sys.argv) > 3 else None
read_logs(sys.argv[1], follow=socket.socket(fileno=int(sys.argv[2])), until_ns=until)
"""


class Follower:
    """A process that follows a log; the test plays the monitor."""

    def __init__(self, path: Path, *more: str) -> None:
        self.path = path
        self.monitor, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-c", FOLLOW, str(path), str(theirs.fileno()), *more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[theirs.fileno()])
        theirs.close()

    def write(self, *texts: str) -> None:
        with self.path.open("ab") as file:
            file.write(b"".join(entry(text) for text in texts))
        self.monitor.sendall(b"l")

    def expect(self, output: bytes) -> None:
        assert self.process.stdout is not None
        found = b""
        while len(found) < len(output):
            found += os.read(self.process.stdout.fileno(), len(output) - len(found))
        assert found == output

    def end(self) -> bytes:
        """Let the container end, and return the rest of the output."""
        self.monitor.sendall(b"x{}")
        return self.rest()

    def rest(self) -> bytes:
        out, _ = self.process.communicate(timeout=10)
        assert self.process.returncode == 0
        self.monitor.close()
        return out


@pytest.fixture
def follow(tmp_path: Path) -> Callable[..., Follower]:
    return lambda *more: Follower(tmp_path / "log", *more)


def test_follow_shows_what_comes_and_ends_with_the_container(follow: Callable[..., Follower]) -> None:
    follower = follow()
    follower.write("one\n")
    follower.expect(b"one\n")
    follower.write("two ", "and more\n")
    follower.expect(b"two and more\n")
    with follower.path.open("ab") as file:
        file.write(entry("last words\n"))
    assert follower.end() == b"last words\n"


def test_follow_across_rotations(follow: Callable[..., Follower]) -> None:
    follower = follow()
    follower.write("one\n")
    follower.expect(b"one\n")
    with follower.path.open("ab") as file:
        file.write(entry("two\n"))
    os.rename(follower.path, f"{follower.path}.1")
    write(follower.path, [entry("three\n")])
    os.rename(f"{follower.path}.1", f"{follower.path}.2")
    os.rename(follower.path, f"{follower.path}.1")
    follower.write("four\n")
    follower.expect(b"two\nthree\nfour\n")
    assert follower.end() == b""


def test_follow_a_log_that_is_emptied(follow: Callable[..., Follower]) -> None:
    follower = follow()
    follower.write("a longer line\n")
    follower.expect(b"a longer line\n")
    os.truncate(follower.path, 0)
    follower.write("b\n")
    follower.expect(b"b\n")
    assert follower.end() == b""


def test_follow_ends_at_until(follow: Callable[..., Follower]) -> None:
    started = time.monotonic()
    follower = follow(str(time.time_ns() + SECOND))
    follower.write("one\n")
    assert follower.rest() == b"one\n"
    assert time.monotonic() - started < 5


def test_follow_sees_an_entry_written_in_two_halves_once(follow: Callable[..., Follower]) -> None:
    follower = follow()
    whole = entry("whole\n")
    for part in (whole[:20], whole[20:]):
        with follower.path.open("ab") as file:
            file.write(part)
        follower.monitor.sendall(b"l")
        time.sleep(0.1)
    follower.expect(b"whole\n")
    assert follower.end() == b""
