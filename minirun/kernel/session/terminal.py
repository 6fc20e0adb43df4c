"""The user's terminal and the container's: sizes, and raw mode that always ends."""

from __future__ import annotations

import errno
import os

from minirun.kernel.path import open_in_root
from minirun.kernel.trace import operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


# ioctl_tty(2); the termios module lacks these two.
_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441


def prepare_terminals() -> None:
    """Import what this module needs, for a child that will not be able to later (see process.close_imports)."""
    import termios  # noqa: F401


def open_multiplexer(root: int) -> int:
    """Make a pty in the devpts of a container and return its master; `root` is its root directory. Raises OSError."""
    return open_in_root(root, "/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)


@operation(man="ioctl_tty(2)")
def open_peer(master: int) -> int:
    """Unlock a pty and open its slave by the master, not by a path that an image could redirect. Raises OSError."""
    import fcntl
    import struct

    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    return fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


@operation(man="ioctl_tty(2)", shell="setsid --ctty ...")
def take_as_controlling_terminal(terminal: int) -> None:
    """Make a terminal the controlling one of this process's session, which has none. Raises OSError (TIOCSCTTY)."""
    import fcntl
    import termios

    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


@operation(man="ioctl_tty(2)", shell="stty size")
def window_size(fd: int) -> tuple[int, int]:
    """Return (rows, columns) of the terminal `fd`. Raises OSError when it is none."""
    import termios

    try:
        return termios.tcgetwinsize(fd)
    except termios.error as error:
        raise OSError(*error.args) from None


@operation(man="ioctl_tty(2)", shell="stty rows {rows} columns {columns}")
def set_window_size(fd: int, rows: int, columns: int) -> None:
    """Set the size of the terminal `fd`, a pty's master or slave; its foreground job gets SIGWINCH. Raises OSError."""
    import termios

    try:
        termios.tcsetwinsize(fd, (rows, columns))
    except termios.error as error:
        raise OSError(*error.args) from None


@operation(man="termios(3)", shell="stty raw -echo")
def make_raw(fd: int) -> list[Any]:
    """Make the terminal pass on every key unchanged (cfmakeraw) and return its former attributes. Raises OSError.

    The container's own terminal does the echo and turns Ctrl-C into a signal. What was typed before stays readable.
    """
    import termios
    import tty

    try:
        before = termios.tcgetattr(fd)
    except termios.error as error:
        raise OSError(*error.args) from None
    _until_done(lambda: tty.setraw(fd, termios.TCSANOW))
    return before


@operation(man="termios(3)", shell="stty sane")
def restore(fd: int, attributes: list[Any]) -> None:
    """Give the terminal the attributes back that `make_raw` returned; one that has hung up needs none."""
    import termios

    try:
        _until_done(lambda: termios.tcsetattr(fd, termios.TCSANOW, attributes))
    except OSError:
        pass


@operation(man="termios(3)", shell="stty -echo")
def hide_input(fd: int) -> list[Any]:
    """Make the terminal not show what is typed, a password, and return its former attributes. Raises OSError."""
    import termios

    try:
        before = termios.tcgetattr(fd)
    except termios.error as error:
        raise OSError(*error.args) from None
    hidden = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
    _until_done(lambda: termios.tcsetattr(fd, termios.TCSAFLUSH, hidden))
    return before


@operation(man="termios(3)", shell="stty -onlcr")
def keep_newlines(fd: int) -> None:
    """Have the terminal `fd` write a newline without a carriage return before it. Raises OSError.

    For a terminal whose output is copied to another one or to a file: the other one adds what it needs.
    """
    import termios

    try:
        attributes = termios.tcgetattr(fd)
        attributes[1] &= ~termios.ONLCR
        termios.tcsetattr(fd, termios.TCSANOW, attributes)
    except termios.error as error:
        raise OSError(*error.args) from None


@operation(man="termios(3)", shell="stty opost")
def process_output(fd: int) -> None:
    """Have a terminal that was made raw still do with output what it did before, newlines above all. Raises OSError."""
    import termios

    try:
        attributes = termios.tcgetattr(fd)
    except termios.error as error:
        raise OSError(*error.args) from None
    attributes[1] |= termios.OPOST
    _until_done(lambda: termios.tcsetattr(fd, termios.TCSANOW, attributes))


def _until_done(set_attributes: Callable[[], object]) -> None:
    """Set a terminal's attributes, once more if this job was stopped over it in the background (SIGTTOU, EINTR).

    Python does so for system calls, but not for those of the module termios. Raises OSError.
    """
    import termios

    while True:
        try:
            set_attributes()
            return
        except termios.error as error:
            if error.args[0] != errno.EINTR:
                raise OSError(*error.args) from None


class raw_mode:  # noqa: N801 - reads as a statement: with raw_mode(0):
    """Keep the terminal `fd` raw within the block, and restore it at the end of the block. Raises OSError."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> None:
        self._before = make_raw(self._fd)

    def __exit__(self, *_: object) -> None:
        restore(self._fd, self._before)


class without_echo:  # noqa: N801 - reads as a statement: with without_echo(0):
    """Do not show what is typed within the block. Raises OSError."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> None:
        self._before = hide_input(self._fd)

    def __exit__(self, *_: object) -> None:
        restore(self._fd, self._before)
