"""What create, run and exec take from their caller, and give to it: descriptors, the terminal, the pid."""

from __future__ import annotations

import os

from minirun.cli.grammar import number, text
from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.oci.call import Call
    from minirun.runtime.compat.sd_notify import Readiness
    from minirun.runtime.create.protocol import Cloned

PID_FILE = text("--pid-file", "File to write the process's pid to.")
CONSOLE = text("--console-socket", "Unix socket that receives the terminal's master.")
PIDFD = text("--pidfd-socket", "Unix socket that receives a pidfd of the process.")
PRESERVE = number("--preserve-fds", "Pass on so many descriptors after the standard streams, as far as they are open.")


def inherited(call: Call) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return which descriptors after 2 the command gets, and the variables that tell it of sockets among them.

    --preserve-fds counts those after the sockets that systemd has passed to this process (sd_listen_fds(3)). A caller
    who does not know this process's pid sets LISTEN_FDS alone.
    """
    sockets, variables = 0, []
    count = os.environ.get("LISTEN_FDS", "")
    own_pid = str(os.getpid())
    if count.isdecimal() and os.environ.get("LISTEN_PID", own_pid) == own_pid:
        sockets = int(count)
        variables = [f"LISTEN_FDS={sockets}", "LISTEN_PID=1"]
        if "LISTEN_FDNAMES" in os.environ:
            variables.append(f"LISTEN_FDNAMES={os.environ['LISTEN_FDNAMES']}")
    preserve = call.number("preserve-fds") or 0
    return tuple(fd for fd in range(3, 3 + sockets + preserve) if _came_by_exec(fd)), tuple(variables)


def _came_by_exec(fd: int) -> bool:
    """Say whether the caller has left this descriptor open for us; all that minirun opens itself are close-on-exec."""
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


def check_console(terminal: bool, socket_path: str, *, detached: bool) -> None:
    """Refuse a terminal that nobody would receive, and a socket without a terminal. Raises MinirunError."""
    if terminal and detached and not socket_path:
        problem = "cannot allocate tty if runc will detach without setting console socket"
        raise MinirunError(problem, "A detached caller is given the terminal by --console-socket.")
    if socket_path and not terminal:
        raise MinirunError("cannot use console socket if runc will not detach or allocate tty")


def hand_over(call: Call, cloned: Cloned, socket_path: str) -> None:
    """Give the caller what it waits for: the terminal's master and the pid file, which is there before we return."""
    if socket_path and cloned.console >= 0:
        from minirun.runtime.process import console

        console.send_master(socket_path, cloned.console)
    if pidfd_socket := call.text("pidfd-socket"):
        from minirun.kernel.trace import step
        from minirun.runtime.create.protocol import send_descriptor

        with step(f"send the process's pidfd to {pidfd_socket}", "exec", "It cannot come to mean another process."):
            send_descriptor(pidfd_socket, b"pidfd", cloned.pidfd)
    pid_file = call.text("pid-file")
    if pid_file:
        from minirun.kernel.hostfiles import replace

        replace(pid_file, str(cloned.pid))


def follow(cloned: Cloned, socket_path: str, signals: int, ready: Readiness | None = None) -> int:
    """Pass the terminal and signals on until the process ends; return its exit code."""
    from minirun.runtime.compat import foreground

    return foreground.follow(cloned.pid, -1 if socket_path else cloned.console, signals, ready)
