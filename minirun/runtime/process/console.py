"""The container's terminal: a pty of the container's own devpts, made from inside.

A pty made on the host would have its path there, and the container would lack the /dev/pts/N of its own terminal.
"""

from __future__ import annotations

import os

from minirun.errors import MinirunError
from minirun.kernel.files import change_owner_of_open
from minirun.kernel.mount import DEVPTS, MountTarget, attach_tree, clone_tree, file_system_type
from minirun.kernel.path import WITHOUT_SYMLINKS, make_file_in_root, open_in_root
from minirun.kernel.session.terminal import (
    keep_newlines,
    open_multiplexer,
    open_peer,
    set_window_size,
    take_as_controlling_terminal,
)
from minirun.kernel.trace import step
from minirun.runtime.create.protocol import send_descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.spec import Process


def open_terminal(root: int, process: Process, *, copied: bool) -> tuple[int, int]:
    """Open a pty in the container's /dev/pts and return (master, slave), the size set. Raises MinirunError.

    With `copied`, minirun copies its output to a terminal of its own, which translates newlines.
    """
    with step(
        "open a pseudo-terminal", "terminal", "The container gets the slave; the master goes out to its monitor."
    ):
        _check_multiplexer(root)
        master = open_multiplexer(root)
        slave = open_peer(master)
        if process.console_rows or process.console_columns:
            set_window_size(master, process.console_rows, process.console_columns)
        if copied:
            keep_newlines(slave)
        change_owner_of_open(slave, process.uid)
        return master, slave


def _check_multiplexer(root: int) -> None:
    """Make sure that /dev/pts is a devpts, and not a directory of the image with another device of this name.

    Raises MinirunError (CVE-2025-52565).
    """
    ptmx = open_in_root(root, "/dev/pts/ptmx", os.O_PATH | os.O_NOFOLLOW)
    kind = file_system_type(ptmx)
    os.close(ptmx)
    if kind != DEVPTS:
        raise MinirunError("/dev/pts of the container is not a devpts", "A terminal needs a mount of type devpts.")


def send_master(path: str, master: int) -> None:
    """Send the pty's master to the Unix socket that --console-socket names. Raises MinirunError."""
    with step(f"send the terminal to {path}", "terminal", "The caller keeps the master; we only made the pair."):
        send_descriptor(path, b"/dev/ptmx", master)
        os.close(master)


def bind_console(root: int, slave: int) -> None:
    """Show the pty as /dev/console, where programs expect the system's terminal. Raises MinirunError."""
    with step("make the terminal /dev/console", "terminal"):
        # An image's link would cover another file, say one of /proc, and keep it from being masked (CVE-2025-52565).
        try:
            console = open_in_root(root, "/dev/console", os.O_PATH, resolve=WITHOUT_SYMLINKS)
        except FileNotFoundError:
            os.close(make_file_in_root(root, "/dev/console", 0o600))
            console = open_in_root(root, "/dev/console", os.O_PATH, resolve=WITHOUT_SYMLINKS)
        place = MountTarget(console, "/dev/console")
        tree = clone_tree("", directory=slave)
        attach_tree(tree, place)
        os.close(tree)
        os.close(place.fd)


def become_controlling_terminal(slave: int) -> None:
    """Make the pty this session's controlling terminal. Raises MinirunError."""
    with step(
        "take the pseudo-terminal as controlling terminal", "terminal", "Ctrl-C then reaches the foreground job."
    ):
        take_as_controlling_terminal(slave)


def use_as_streams(slave: int) -> None:
    """Make the pty the three standard streams."""
    for stream in (0, 1, 2):
        os.dup2(slave, stream, inheritable=True)
