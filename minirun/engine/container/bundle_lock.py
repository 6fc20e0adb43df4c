"""Who may bring a container up or take it down: the lock of its bundle.

Every container that exists in the kernel, or is about to, has a directory state/bundles/ID with a file monitor.lock.
Whoever brings the container up holds its lock; the lock then passes by inheritance to the monitor, which holds it
until all is unmade. flock(2) belongs to the open file: the kernel frees it when the last holder ends, however that
ends. So a directory whose lock is free is what a killed minirun has left behind.
"""

from __future__ import annotations

import errno
import fcntl
import os

from minirun.kernel.hostfiles import is_locked, make_private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from minirun.model.layout import Layout


class BundleLock:
    """The held lock of one container's bundle; a context manager that frees it."""

    def __init__(self, layout: Layout, container_id: str, fd: int) -> None:
        self._layout = layout
        self._id = container_id
        self.fd = fd

    def __enter__(self) -> BundleLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Let go; a monitor that has inherited the lock goes on holding it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def discard(self) -> None:
        """Remove the bundle and let go: nothing of the container is in the kernel any more."""
        bundle = self._layout.bundle(self._id)
        try:
            # The lock goes last: without it, somebody would take the directory for one that was left behind.
            for name in sorted(os.listdir(bundle), key="monitor.lock".__eq__):
                (os.rmdir if name == "rootfs" else os.unlink)(f"{bundle}/{name}")
            os.rmdir(bundle)
        except FileNotFoundError:
            pass  # somebody else has just removed it
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:  # somebody has just claimed it anew
                raise
        self.release()


def take(layout: Layout, container_id: str, wait: bool = True) -> BundleLock | None:
    """Make the bundle's directory if there is none and take its lock. With wait=False, None if somebody has it."""
    bundle = layout.bundle(container_id)
    path = f"{bundle}/monitor.lock"
    while True:
        make_private(bundle)
        try:
            return BundleLock(layout, container_id, _make_locked(bundle, path))
        except FileNotFoundError:
            continue  # its last holder has just removed the directory
        except FileExistsError:
            pass
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if _is_same(fd, path):
                return BundleLock(layout, container_id, fd)
        except BlockingIOError:
            os.close(fd)
            return None
        os.close(fd)


def _make_locked(bundle: str, path: str) -> int:
    """Make the lock's file, locked from the moment it can be seen. Raises FileExistsError or FileNotFoundError."""
    fd = os.open(bundle, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        # With a dir_fd Python calls linkat(2), which can follow the link in /proc; link(2) cannot.
        os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)
    except BaseException:
        os.close(fd)
        raise
    return fd


def is_held(layout: Layout, container_id: str) -> bool:
    """Say whether somebody brings the container up, runs it or takes it down."""
    return is_locked(f"{layout.bundle(container_id)}/monitor.lock")


def claimed_ids(layout: Layout) -> list[str]:
    """Return the ids of all bundles, held or left behind."""
    try:
        return [name for name in os.listdir(layout.bundles) if len(name) == 64]
    except FileNotFoundError:
        return []


def take_abandoned(layout: Layout, container_id: str) -> BundleLock | None:
    """Take the lock of a bundle that was left behind; None if somebody has it or has just removed it."""
    bundle = layout.bundle(container_id)
    try:
        os.rmdir(bundle)  # empty: somebody was killed, or is about to go on, before anything was made
        return None
    except FileNotFoundError:
        return None
    except OSError:
        return None if is_held(layout, container_id) else take(layout, container_id, wait=False)


def _is_same(fd: int, path: str) -> bool:
    """Say whether `path` still is the file behind `fd`: between open and flock its directory may have been removed."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False
