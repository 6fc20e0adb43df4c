"""The right to bring a container up or to take it down: the lock of its bundle.

Every container that exists in the kernel, or is about to, has a directory state/bundles/ID with a file monitor.lock.
The process that brings the container up holds its lock; the monitor inherits the lock and holds it until everything is
taken down. flock(2) belongs to the open file: the kernel frees it when the last holder ends, however that
ends. So a directory whose lock is free was left behind by a minirun that was killed.
"""

from __future__ import annotations

import errno
import os

from minirun.kernel import hostfiles

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
        """Remove the bundle and release the lock: the kernel holds nothing of the container any more."""
        bundle = self._layout.bundle(self._id)
        try:
            # The lock goes last: without it, somebody would take the directory for one that was left behind.
            for name in sorted(os.listdir(bundle), key="monitor.lock".__eq__):
                (hostfiles.remove_directory if name in ("rootfs", "mounts") else hostfiles.remove)(f"{bundle}/{name}")
            hostfiles.remove_directory(bundle)
        except FileNotFoundError:
            pass  # somebody else has just removed it
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:  # another command has just taken it again
                raise
        self.release()


def take(layout: Layout, container_id: str, wait: bool = True) -> BundleLock | None:
    """Make the bundle's directory if there is none and take its lock. With wait=False, None if somebody has it."""
    bundle = layout.bundle(container_id)
    path = f"{bundle}/monitor.lock"
    while True:
        hostfiles.make_private(bundle)
        try:
            return BundleLock(layout, container_id, hostfiles.lock_new(path))
        except FileNotFoundError:
            continue  # its last holder has just removed the directory
        except FileExistsError:
            pass
        try:
            return BundleLock(layout, container_id, hostfiles.lock_existing(path, wait=wait))
        except FileNotFoundError:
            continue
        except BlockingIOError:
            return None


def is_held(layout: Layout, container_id: str) -> bool:
    """Say whether somebody brings the container up, runs it or takes it down."""
    return hostfiles.is_locked(f"{layout.bundle(container_id)}/monitor.lock")


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
        hostfiles.remove_directory(bundle)  # empty: somebody was killed, or is about to go on, before anything was made
        return None
    except OSError:
        return None if is_held(layout, container_id) else take(layout, container_id, wait=False)
