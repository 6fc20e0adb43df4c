"""sd_notify(3): a service manager that started the runtime hears when the container is ready.

The service manager names its socket in NOTIFY_SOCKET. The container does not get that one: with it, it could stop the
service or name any process as its main one. It gets a directory with a socket of its own, on which the runtime listens
from `start` on and of which it passes on one thing, READY=1. Docker's and Podman's callers unset the variable; it is
there when a unit of systemd (Type=notify) runs a container without them.
"""

from __future__ import annotations

import os
import select

from minirun.errors import warn
from minirun.kernel import hostfiles, sockets
from minirun.kernel.process import pidfd_open
from minirun.kernel.trace import step
from minirun.model.spec import MountSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.spec import Spec

READY = b"READY=1"
DIRECTORY = "notify"
_BARRIER_MILLISECONDS = (
    30_000  # how long sd_notify_barrier's callers wait: a manager that does not know the word never answers
)


def give_socket(spec: Spec, state_directory: str, manager: str) -> Spec:
    """Return the spec with the directory of the container's own socket mounted, and NOTIFY_SOCKET naming that.

    It is mounted where the manager's socket `manager` is on the host, or at /run/notify if that has no path (unix(7),
    "abstract").
    """
    if spec.process is None:
        return spec
    place = manager if manager.startswith("/") else "/run/notify"
    options = ("bind", "nosuid", "noexec", "nodev", "ro")
    entry = MountSpec(place, "bind", f"{state_directory}/{DIRECTORY}", options)
    environment = (*spec.process.env, f"NOTIFY_SOCKET={place}/{DIRECTORY}")
    return spec.replace(mounts=(*spec.mounts, entry), process=spec.process.replace(env=environment))


def make_directory(state_directory: str) -> None:
    """Make the directory that `give_socket` mounts; every user of the container may look into it."""
    hostfiles.make_directory(f"{state_directory}/{DIRECTORY}")
    hostfiles.set_mode(f"{state_directory}/{DIRECTORY}", 0o755)


class Readiness:
    """The container's socket, and the manager that it is to reach."""

    def __init__(self, state_directory: str, manager: str) -> None:
        """Begin to listen. Raises OSError; FileNotFoundError if the container was not made to be listened to."""
        self._manager = f"\0{manager[1:]}" if manager.startswith("@") else manager
        directory = os.open(f"{state_directory}/{DIRECTORY}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            path = f"/proc/self/fd/{directory}/{DIRECTORY}"  # the whole path may be longer than an address: unix(7)
            self._socket = sockets.receive_at(path, 0o777)
        finally:
            os.close(directory)

    def close(self) -> None:
        """End listening: what the container says from now on is refused rather than queued."""
        self._socket.close()

    def fileno(self) -> int:
        """Return the descriptor on which something can be read when the container has said something."""
        return self._socket.fileno()

    def pass_on(self) -> bool:
        """Read one message; tell the manager if it says that the container is ready, and return whether it did."""
        if READY not in self._socket.recv(4096).split(b"\n"):
            return False
        with step("tell the service manager that the container is ready", "exec"):
            self._tell(READY)
        return True

    def pass_on_rest(self) -> bool:
        """Read what was said before the container's end, as `pass_on` does."""
        poll = select.poll()
        poll.register(self, select.POLLIN)
        ready = False
        while not ready and poll.poll(0):
            ready = self.pass_on()
        return ready

    def wait(self, pid: int) -> None:
        """Wait until the container is ready or its first process has ended.

        The manager then watches that process in place of this one, which is about to end.
        """
        try:
            pidfd = pidfd_open(pid)
        except ProcessLookupError:
            return
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.register(self, select.POLLIN)
        ready = False
        while not ready and pidfd not in (events := dict(poll.poll())):
            ready = self.fileno() in events and self.pass_on()
        os.close(pidfd)
        ready = ready or self.pass_on_rest()
        self.close()
        if ready:
            self._tell(b"MAINPID=%d" % pid)
            self._wait_for_manager()

    def _tell(self, text: bytes, *descriptors: int) -> bool:
        import socket

        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.connect(self._manager)
                socket.send_fds(sender, [text], list(descriptors))
        except OSError as error:
            warn(f"cannot notify {self._manager!r}: {error.strerror}")
            return False
        return True

    def _wait_for_manager(self) -> None:
        """Wait until the manager has read everything: once a process has ended, the manager cannot tell its unit.

        It does so by closing the descriptor that comes with the word BARRIER=1: sd_notify_barrier(3).
        """
        until_read, held = os.pipe()
        told = self._tell(b"BARRIER=1", held)
        os.close(held)
        if told:
            poll = select.poll()
            poll.register(until_read, select.POLLIN)
            poll.poll(_BARRIER_MILLISECONDS)
        os.close(until_read)
