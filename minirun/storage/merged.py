"""The tree that overlayfs shows of a snapshot, as a descriptor: no mount of it is ever seen on the host.

mount(2) needs a place to mount on, and a mount namespace has many. So a thread takes a namespace of its own, mounts in
there, clones the mounts (open_tree(2)) and ends; its namespace ends with it. The clone is in no namespace: it lives as
long as its descriptor, however this process ends.
"""

from __future__ import annotations

import os
import threading

from minirun.kernel.mount import PROPAGATION, clone_tree, set_propagation
from minirun.kernel.process import NAMESPACE_FLAGS, setns, unshare
from minirun.storage.images import stack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minirun.model.image import Snapshot

    # What to do with the root directory, in the namespace where it is mounted, before the clone is made.
    Prepare = Callable[[int], None]


def nothing(_root: int) -> None:
    """Prepare nothing."""


def open_snapshot(snapshot: Snapshot, prepare: Prepare = nothing) -> int:
    """Return the root directory of a snapshot as a descriptor; its `target` is any directory. Raises OSError."""

    def mount_it() -> int:
        _own_namespace()
        stack(snapshot)
        return _clone(snapshot.target, prepare)

    return _in_a_thread(mount_it)


def open_mounted(namespace: int, target: str, prepare: Prepare = nothing) -> int:
    """Return the root directory of what is mounted on `target` in the mount namespace behind a descriptor.

    Raises OSError.
    """

    def enter() -> int:
        unshare(NAMESPACE_FLAGS["mount"])  # setns(2) is for those who do not share their working directory
        setns(namespace, NAMESPACE_FLAGS["mount"], os.readlink(f"/proc/self/fd/{namespace}"))
        _own_namespace()
        return _clone(target, prepare)

    return _in_a_thread(enter)


def _own_namespace() -> None:
    unshare(NAMESPACE_FLAGS["mount"])
    set_propagation("/", PROPAGATION["rprivate"])


def _clone(target: str, prepare: Prepare) -> int:
    root = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        prepare(root)
    finally:
        os.close(root)
    return clone_tree(target, recursive=True)


def _in_a_thread(work: Callable[[], int]) -> int:
    done: list[int] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the caller waits
            failed.append(error)

    thread = threading.Thread(target=run, name="mounts", daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]
