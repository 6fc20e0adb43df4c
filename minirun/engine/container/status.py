"""What the kernel and the monitor say of a container now."""

from __future__ import annotations

import time

from minirun.engine.container import bundle_lock, records
from minirun.errors import MinirunError
from minirun.model.container import ExitStatus
from minirun.model.record import Record
from minirun.runtime import state as runtime_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.container import ContainerRecord
    from minirun.model.layout import Layout

MOMENT = 0.001
"""Seconds between two looks at a lock that is about to be free."""


class Status(Record):
    """A container now: `state` is "created", "running", "paused" or "exited"; `pid` is 0 unless it runs."""

    state: str
    pid: int = 0
    exit: ExitStatus | None = None

    @property
    def is_running(self) -> bool:
        """Say whether it has processes."""
        return self.state in ("running", "paused")


def status(layout: Layout, record: ContainerRecord) -> Status:
    """Return what the kernel and the monitor say of a container now."""
    ended = records.exit_status(layout, record.id)
    if not ended and bundle_lock.is_held(layout, record.id):
        try:
            running = runtime_state.load(layout.runtime, record.id)
            now = runtime_state.status(layout.runtime, running)
        except MinirunError:
            now = "created"
        if now in ("running", "paused"):
            return Status(now, running.pid)
    elif not ended and record.started_at:
        # It has just ended and written it, or could not write it.
        ended = records.exit_status(layout, record.id) or _lost(record)
    return Status("exited" if ended else "created", exit=ended)


def _lost(record: ContainerRecord) -> ExitStatus:
    """The exit status of a container that has run and whose end is not on record."""
    return ExitStatus(255, finished_at=record.started_at, error="how it ended is lost: its exit could not be recorded")


def wait_until_free(layout: Layout, container_id: str) -> None:
    """Wait until the monitor has let go of the lock: then everything is unmade."""
    deadline = time.monotonic() + 10
    while bundle_lock.is_held(layout, container_id) and time.monotonic() < deadline:
        time.sleep(MOMENT)
