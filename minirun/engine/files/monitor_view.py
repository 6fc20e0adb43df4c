"""What is mounted in the mount namespace of a running container's monitor: its root file system, its volumes."""

from __future__ import annotations

import os

from minirun.engine.container.status import status
from minirun.kernel.files import read
from minirun.kernel.trace import step
from minirun.storage.merged import nothing, open_mounted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.container import ContainerRecord
    from minirun.model.layout import Layout
    from minirun.storage.merged import Prepare


def open_running(layout: Layout, record: ContainerRecord, path: str, prepare: Prepare = nothing) -> int:
    """Return what is mounted on `path` for a container that runs, as a descriptor; -1 if it does not run.

    Raises OSError.
    """
    pid = status(layout, record).pid
    if not pid:
        return -1
    try:
        monitor = _parent(pid)
        namespace = os.open(f"/proc/{monitor}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        return -1
    try:
        # As long as its child lives, the monitor does, and its number is nobody else's.
        if status(layout, record).pid != pid or _parent(pid) != monitor:
            return -1
        with step("look at the container's files in its monitor's mount namespace", "overlayfs"):
            return open_mounted(namespace, path, prepare)
    finally:
        os.close(namespace)


def _parent(pid: int) -> int:
    """Return the parent of a process. Raises FileNotFoundError or ProcessLookupError if it has ended."""
    return int(read(f"/proc/{pid}/stat").rpartition(")")[2].split()[1])
