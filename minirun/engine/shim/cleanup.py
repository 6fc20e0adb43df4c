"""Clean-up: what a container has in the kernel and on disk is removed, after its end or after minirun was killed.

`tear_down` is the one way down, for every way in which a container can end: its foreground command calls it, or its
monitor starts this module's `main`, or, when both were killed, the next command finds it by `collect`. What then
becomes of the container is decided in one place, too: `_decide_what_follows`.
"""

from __future__ import annotations

import _signal as signal  # the C part of `signal`, which would bring `enum` along, for 5 ms
import os
import sys
import time

from minirun.engine.container import bundle_lock, records
from minirun.errors import MinirunError, warn_once
from minirun.kernel.mount import unmount_lazily
from minirun.kernel.process import own_python
from minirun.kernel.trace import step
from minirun.model.container import ExitStatus
from minirun.model.layout import Layout
from minirun.network import drivers
from minirun.network.drivers import bridge
from minirun.runtime import lifecycle
from minirun.storage import ingest
from minirun.storage.volumes import records as volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minirun.engine.container.bundle_lock import BundleLock
    from minirun.model.container import ContainerRecord


# How a command notes in its ingest directory that it has paused a container, for a while and with nobody else knowing.
PAUSED = "paused-"
# How a build notes the container of a step, which must not outlive it.
STEP = "step-"


def let_go_on(layout: Layout, container_id: str) -> None:
    """Let a container go on that a command has paused; one that does go on, or has ended, is left alone."""
    try:
        lifecycle.resume(layout.runtime, container_id)
    except MinirunError:
        pass


def end_step(layout: Layout, container_id: str) -> None:
    """Kill the container of a step whose build is gone; its monitor, or the next command, takes it down."""
    try:
        lifecycle.kill(layout.runtime, container_id, signal.SIGKILL)
    except MinirunError:
        pass  # it has ended


def _act_on_note(layout: Layout, note: str) -> None:
    kind, _, container_id = note.partition("-")
    act = {PAUSED: let_go_on, STEP: end_step}.get(f"{kind}-")
    if act:
        act(layout, container_id)


def tear_down(layout: Layout, container_id: str, lock: BundleLock | None = None) -> None:
    """Take down everything that was made to run a container, then do what follows its end.

    `lock` is the lock, if the caller holds it; the monitor's clean-up runs under the monitor's lock. Raises
    MinirunError.
    """
    record = _record_if_any(layout, container_id)
    with step("take down what was made for the container", "cleanup"):
        lifecycle.delete(layout.runtime, container_id, force=True)
        endpoint = record.endpoint if record else None
        drivers.find(endpoint.network if endpoint else drivers.DEFAULT).detach(layout, container_id, endpoint)
    _decide_what_follows(layout, container_id, record)
    (lock or bundle_lock.BundleLock(layout, container_id, -1)).discard()


def _decide_what_follows(layout: Layout, container_id: str, record: ContainerRecord | None) -> None:
    """Say what becomes of a container that has ended and of which nothing is in the kernel any more.

    With --rm it is removed; without, it stays, for `start`, `logs` and `rm`.
    """
    if record is None:
        records.remove(layout, container_id)  # killed before the record was written, or after it was removed
    elif record.request.auto_remove:
        remove_container(layout, container_id, anonymous_volumes=True)


def remove_container(layout: Layout, container_id: str, anonymous_volumes: bool) -> None:
    """Forget a container that is not in the kernel any more, with its anonymous volumes if wanted."""
    record = _record_if_any(layout, container_id)
    names = record.anonymous_volumes if record and anonymous_volumes else ()
    # Only the record tells of the volumes: it goes after them.
    if names:
        from minirun.engine.volume import removing

        removing.remove_anonymous(layout, names, container_id)
    records.remove(layout, container_id)


def _record_if_any(layout: Layout, container_id: str) -> ContainerRecord | None:
    """Return the record, None for a damaged one: that is a container's, too, and nobody has asked to remove it."""
    try:
        return records.load_any(layout, container_id)
    except MinirunError:
        return None


def collect(layout: Layout) -> None:
    """Take down what killed commands have left behind. Costs next to nothing when there is nothing.

    The command that finds it does not depend on it: a failure is a warning, and the rest is left to the next command.
    """
    for container_id in bundle_lock.claimed_ids(layout):
        _warn(_tear_down_abandoned, layout, container_id)
    _warn(_remove_half_made, layout)
    _warn(_remove_half_made_volume, layout)
    _warn(bridge.collect_garbage, layout, lambda: bundle_lock.claimed_ids(layout))
    _warn(ingest.collect_garbage, layout, lambda note: _act_on_note(layout, note))


def _warn(act: Callable[..., object], *arguments: object) -> None:
    """Do something, and make a warning of its failure."""
    try:
        act(*arguments)
    except NotADirectoryError:
        pass  # this is not a store, so nothing was left in it; the command itself says so
    except MinirunError as error:
        warn_once(f"cannot clean up what an earlier command has left: {error.message}")
    except OSError as error:
        warn_once(f"cannot clean up what an earlier command has left: {error.filename or ''}: {error.strerror}")


def _tear_down_abandoned(layout: Layout, container_id: str) -> None:
    lock = bundle_lock.take_abandoned(layout, container_id)
    if lock is None:
        return
    with lock:
        if os.listdir(layout.bundle(container_id)) != ["monitor.lock"]:
            _record_lost_exit(layout, container_id)
        tear_down(layout, container_id, lock)


def _remove_half_made(layout: Layout) -> None:
    """Remove the directories of containers without a record: of those half made, and of those half removed."""
    records.remove_leftovers(layout)
    for container_id in records.ids(layout):
        if records.has_record(layout, container_id):
            continue
        # A command that makes a container holds its lock from before the directory exists until after the record does.
        lock = bundle_lock.take(layout, container_id, wait=False)
        if lock is None:
            continue
        with lock:
            if not records.has_record(layout, container_id):
                records.remove(layout, container_id)
            lock.discard()


def _remove_half_made_volume(layout: Layout) -> None:
    if volumes.any_half_made(layout):
        with volumes.locked(layout):
            volumes.remove_half_made(layout)


def _record_lost_exit(layout: Layout, container_id: str) -> None:
    """Record that nobody knows how a container ended, since its monitor was killed."""
    if records.exit_status(layout, container_id) is None and os.path.isdir(layout.container(container_id)):
        status = ExitStatus(137, 9, finished_at=time.time(), error="its monitor was killed")
        try:
            records.save_exit_status(layout, container_id, status)
        except OSError as error:
            warn_once(f"cannot note that the monitor of container {container_id[:12]} was killed: {error.strerror}")


def command(layout: Layout, container_id: str) -> list[str]:
    """Return the command with which a monitor starts `main`."""
    return own_python(__name__, layout.root, layout.state, container_id)


def _unmount(rootfs: str) -> None:
    """Unmount the container's root file system: here, in the monitor's mount namespace, its directory still shows
    it."""
    if os.path.ismount(rootfs):
        with step("unmount the root file system", "overlayfs"):
            unmount_lazily(rootfs)


def main(root: str, state: str, container_id: str) -> None:
    """The monitor's clean-up: take down one container."""
    layout = Layout(root, state)
    try:
        _unmount(f"{layout.bundle(container_id)}/rootfs")
        tear_down(layout, container_id)
    except MinirunError as error:
        sys.exit(f"minirun: {error}")
