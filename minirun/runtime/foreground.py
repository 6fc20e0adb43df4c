"""Staying with a process until its end: `run` and `exec` without --detach."""

from __future__ import annotations

import os
import select
import signal

from minirun.kernel.terminal import raw_mode, set_window_size, window_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

_OWN_SIGNALS = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGWINCH, signal.SIGPIPE, signal.SIGURG}


def follow(pid: int, console: int) -> int:
    """Forward signals to the process, copy its terminal if this process has its master, and return its exit code."""

    def forward(number: int, _frame: FrameType | None) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass

    for number in signal.valid_signals() - _OWN_SIGNALS:
        signal.signal(number, forward)
    if console >= 0:
        _relay(console)
    _, status = os.waitpid(pid, 0)
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _relay(console: int) -> None:
    """Copy between this process's standard streams and the terminal's master until the last process has left it."""

    def resize(_number: int = 0, _frame: FrameType | None = None) -> None:
        if os.isatty(0):
            set_window_size(console, *window_size(0))

    signal.signal(signal.SIGWINCH, resize)
    resize()
    if os.isatty(0):
        with raw_mode(0):
            _copy(console)
    else:
        _copy(console)


def _copy(console: int) -> None:
    poll = select.poll()
    poll.register(console, select.POLLIN)
    poll.register(0, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            try:
                data = os.read(fd, 65536)
            except OSError:
                data = b""  # EIO: the last process has closed the terminal
            if fd == console:
                if not data:
                    return
                _write_all(1, data)
            elif data:
                _write_all(console, data)
            else:
                poll.unregister(0)
                _write_all(console, b"\x04")


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
