"""The ends of containers: stop, kill and remove, of many at once.

    connect to each monitor, offer to clean up, signal  ->  wait for all; as each ends, clean up  ->  say how it went

Signals go to all before the first is waited for, so that no container's end waits for another's. Cleaning up is offered
to the monitors (native/monitor.c, "U"), because each of them would start a Python of its own for it, which takes ten
times as long as the cleaning itself.

The functions take several containers and return the errors of those that could not be ended, by their ids: nobody's
error keeps the others from their turn.
"""

from __future__ import annotations

import _signal as signal  # the C part of `signal`, which would bring `enum` along, for 5 ms
import select
import time

from minirun.engine.container import bundle_lock, monitor_client, records
from minirun.engine.container.status import MOMENT, status, wait_until_free
from minirun.engine.shim import cleanup
from minirun.errors import MinirunError
from minirun.model.signals import parse_signal
from minirun.runtime import lifecycle
from minirun.storage import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket as socket
    from collections.abc import Callable, Iterable

    from minirun.model.container import ContainerRecord
    from minirun.model.layout import Layout

    Failures = dict[str, MinirunError]

_STOP_TIMEOUT = 10
_LONGEST = 10**6
"""Seconds: longer than anybody waits, and short enough for poll(2)."""


def stop(layout: Layout, containers: Iterable[ContainerRecord], timeout: int | None = None) -> Failures:
    """Ask containers to end with their stop signals, and kill those that still run after `timeout` seconds (-1: never).

    Those that do not run are left as they are.
    """

    def ask(record: ContainerRecord) -> _Ending | None:
        seconds = record.request.stop_timeout if timeout is None else timeout
        seconds = _STOP_TIMEOUT if seconds is None else seconds
        number = parse_signal(record.request.stop_signal or _image_stop_signal(layout, record) or "TERM")
        ending = _Ending.begin(layout, record)
        if ending:
            ending.deadline = time.monotonic() + min(seconds, _LONGEST) if seconds >= 0 else None
            send_signal(layout, record, number)
        return ending

    failures = _end(containers, ask)
    for record in containers:
        if record.id not in failures:
            wait_until_free(layout, record.id)
    return failures


def kill(layout: Layout, containers: Iterable[ContainerRecord], signal_name: str = "KILL") -> Failures:
    """Send a signal to the first process of each container, and wait for the end that SIGKILL brings.

    Raises MinirunError if there is no such signal.
    """
    number = parse_signal(signal_name)

    def strike(record: ContainerRecord) -> _Ending | None:
        if not status(layout, record).is_running:
            raise MinirunError(f"Cannot kill container: {record.name}: Container {record.id} is not running", "", 1)
        ending = _Ending.begin(layout, record) if number == signal.SIGKILL else None
        lifecycle.kill(layout.runtime, record.id, number)
        return ending

    return _end(containers, strike)


def remove(
    layout: Layout, containers: Iterable[ContainerRecord], *, force: bool = False, anonymous_volumes: bool = False
) -> Failures:
    """Remove containers; with `force` those that run, too."""

    def strike(record: ContainerRecord) -> _Ending | None:
        ending = _Ending.begin(layout, record) if status(layout, record).is_running else None
        if ending:
            send_signal(layout, record, signal.SIGKILL)
        return ending

    failures = _end(containers, strike) if force else {}
    for record in containers:
        if record.id not in failures:
            _note(failures, record, _remove, layout, record, force, anonymous_volumes)
    return failures


def _remove(layout: Layout, record: ContainerRecord, force: bool, anonymous_volumes: bool) -> None:
    # Not by waiting for the lock: a command that starts the container right now hands it on to the monitor.
    while (lock := bundle_lock.take(layout, record.id, wait=False)) is None:
        now = status(layout, record)
        if not now.is_running:
            time.sleep(MOMENT)
        elif force:
            send_signal(layout, record, signal.SIGKILL)  # it has been started in this moment
            time.sleep(MOMENT)
        else:
            raise MinirunError(
                f"You cannot remove a {now.state} container {record.id}",
                "Stop the container before attempting removal or force remove.",
                1,
            )
    with lock:
        existed = records.has_record(layout, record.id)
        cleanup.tear_down(layout, record.id)
        cleanup.remove_container(layout, record.id, anonymous_volumes)
        lock.discard()
    if not existed and not force:  # with --rm it has gone by itself, which was wanted
        raise records.no_such_container(record.name)


def send_signal(layout: Layout, record: ContainerRecord, number: int) -> None:
    """Send a signal to a container's first process, and let a paused one go on so that it is heard; one that has ended
    in the meantime has what was wanted."""
    try:
        lifecycle.kill(layout.runtime, record.id, number)
        if status(layout, record).state == "paused":
            lifecycle.resume(layout.runtime, record.id)
    except MinirunError:
        pass


def signal_sender(layout: Layout, record: ContainerRecord) -> Callable[[int], None]:
    """Return what passes signals of a foreground command on to a container's first process."""

    def send(number: int) -> None:
        try:
            lifecycle.kill(layout.runtime, record.id, number)
        except MinirunError:
            pass  # it has just ended; its exit record is on the way

    return send


def _image_stop_signal(layout: Layout, record: ContainerRecord) -> str:
    try:
        return images.load_image(layout, record.image_id).config.stop_signal
    except MinirunError:
        return ""


# -- many at once ----------------------------------------------------------------------------------------------------


class _Ending:
    """A container on the way to its end, and the connection on which its monitor tells of it."""

    def __init__(self, layout: Layout, record: ContainerRecord, monitor: socket.socket) -> None:
        self.record = record
        self.deadline: float | None = None
        self._layout = layout
        self.monitor = monitor

    @classmethod
    def begin(cls, layout: Layout, record: ContainerRecord) -> _Ending | None:
        """Connect to the monitor and offer to clean up after the end; None if there is none."""
        monitor = monitor_client.connect(layout, record.id)
        if monitor is None:
            return None
        monitor_client.subscribe(monitor)
        monitor.send(b"U")
        return cls(layout, record, monitor)

    def proceed(self) -> bool:
        """Read what the monitor says and do it; return whether more is to come. Raises MinirunError, OSError."""
        try:
            message = self.monitor.recv(4096)  # more than an exit record has
        except ConnectionResetError:
            return True  # it has closed without reading our last message; what it sent before is still there
        if message[:1] == b"x":
            self.deadline = None
        elif message[:1] == b"u":
            cleanup.tear_down(self._layout, self.record.id)
            monitor_client.say_cleaned(self.monitor)
        return message != b""

    def kill_if_due(self, now: float) -> None:
        """Kill the container when its time is over."""
        if self.deadline is not None and now >= self.deadline:
            self.deadline = None
            send_signal(self._layout, self.record, signal.SIGKILL)


def _end(containers: Iterable[ContainerRecord], begin: Callable[[ContainerRecord], _Ending | None]) -> Failures:
    """Begin the end of each container, then wait until all are taken down; return the errors by container."""
    failures: Failures = {}
    waiting: dict[int, _Ending] = {}
    poll = select.poll()

    def begin_one(record: ContainerRecord) -> None:
        if ending := begin(record):
            waiting[ending.monitor.fileno()] = ending
            poll.register(ending.monitor, select.POLLIN)

    for record in containers:
        _note(failures, record, begin_one, record)
    try:
        while waiting:
            for fd, _ in poll.poll(_milliseconds(waiting.values())):
                ending = waiting[fd]
                if not _note(failures, ending.record, ending.proceed):
                    poll.unregister(fd)
                    waiting.pop(fd).monitor.close()
            now = time.monotonic()
            for ending in waiting.values():
                ending.kill_if_due(now)
    finally:
        for ending in waiting.values():
            ending.monitor.close()  # by Ctrl-C: the monitors clean up by themselves
    return failures


def _milliseconds(endings: Iterable[_Ending]) -> float | None:
    """Return how long to wait for news, until the first deadline."""
    deadlines = [ending.deadline for ending in endings if ending.deadline is not None]
    return max(0.0, min(deadlines) - time.monotonic()) * 1000 + 1 if deadlines else None


def _note(failures: Failures, record: ContainerRecord, act: Callable[..., bool | None], *arguments: object) -> bool:
    """Do something for a container and return its result; an error is noted and counts as False."""
    try:
        return bool(act(*arguments))
    except MinirunError as error:
        failures.setdefault(record.id, error)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        failures.setdefault(record.id, MinirunError(f"{where}{error.strerror}", "", 1))
    return False
