"""Staying with a process until its end: `run` and `exec` without --detach.

One loop waits for signals, which are passed on, and for bytes between this process's standard streams and the
container's terminal. Signals come by a descriptor, so none can interrupt anything.
"""

from __future__ import annotations

import os
import select

from minirun.kernel.hostfiles import write_all
from minirun.kernel.process import read_signal, send_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.runtime.compat.sd_notify import Readiness

SIGPIPE, SIGCHLD, SIGURG, SIGWINCH = 13, 17, 23, 28  # the module `signal` would bring `enum` along, for 5 ms


def follow(pid: int, console: int, signals: int, ready: Readiness | None = None) -> int:
    """Stay with a child and return its exit code, 128 + N after a signal N.

    `console` is its terminal's master, or -1 if that is not this process's business; `signals` is what `open_signals`
    has returned; `ready` hears when it is ready, for a service manager.
    """
    if console < 0:
        return _exit_code(_pass_signals_on(pid, -1, signals, ready))
    _copy_size(console)
    if not os.isatty(0):
        return _exit_code(_pass_signals_on(pid, console, signals, ready))
    from minirun.kernel.session.terminal import process_output, raw_mode

    with raw_mode(0):
        process_output(0)  # the container's terminal leaves newlines to this one
        return _exit_code(_pass_signals_on(pid, console, signals, ready))


def _pass_signals_on(pid: int, console: int, signals: int, ready: Readiness | None) -> int:
    """Serve until the child has ended and its terminal is read to the end; return the wait status."""
    poll = select.poll()
    poll.register(signals, select.POLLIN)
    if ready:
        poll.register(ready, select.POLLIN)
    if console >= 0:
        poll.register(console, select.POLLIN)
        poll.register(0, select.POLLIN)
    ended, status = os.waitpid(pid, os.WNOHANG)
    while not ended:
        for fd, _ in poll.poll():
            if fd == signals:
                number = read_signal(signals)
                if number == SIGCHLD:
                    ended, status = os.waitpid(pid, os.WNOHANG)
                elif number == SIGWINCH and console >= 0:
                    _copy_size(console)
                elif number not in (SIGPIPE, SIGURG):
                    send_signal(pid, number)
            elif ready and fd == ready.fileno():
                if ready.pass_on():
                    poll.unregister(fd)
                    ready.close()
                    ready = None
            elif not _copy(fd, console):
                poll.unregister(fd)
    while console >= 0 and _is_readable(console) and _copy(console, console):
        pass
    if ready:
        ready.pass_on_rest()
    return status


def _copy_size(console: int) -> None:
    """Give the container's terminal the size of the user's."""
    if os.isatty(0):
        from minirun.kernel.session.terminal import set_window_size, window_size

        set_window_size(console, *window_size(0))


def _copy(fd: int, console: int) -> bool:
    """Copy what there is from the terminal out, or from standard input into it; say whether there may be more."""
    try:
        data = os.read(fd, 65536)
    except OSError:
        data = b""  # EIO: the last process has closed the terminal
    if fd == console:
        _write(1, data)
    else:
        _write(console, data or b"\x04")  # the end of a file or pipe is Ctrl-D on a terminal
    return bool(data)


def _is_readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def _write(fd: int, data: bytes) -> None:
    try:
        write_all(fd, data)
    except OSError:
        pass  # the reader has gone; the container must not hang for it


def _exit_code(status: int) -> int:
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
