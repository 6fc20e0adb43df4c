"""Bringing a container up: from a record to a process that waits for its start, with a monitor as its parent.

    command ──fork──> shim ──clone3──> container
       │                 │                    │
       │                 └─exec─> monitor     └─exec─> exec_stub, which waits
       └─ waits until it stands

A shim is told one `Job`, inherits descriptors, and answers over a channel; there is no other way to one, and nothing
of it outlives the call. A process with one thread forks it, which takes a millisecond, because all is imported. The
copy of a process with threads would have the locks that these held and not the threads (fork(2)), so there the shim is
a Python of its own, which takes some 30 ms to start.

This is the side of whoever wants the container; `shim` is the other.
"""

from __future__ import annotations

import _socket as socket  # not all of `socket`: see kernel/sockets.py
import os

from minirun.engine.shim.job import CREATED, Job
from minirun.errors import MinirunError
from minirun.kernel import process
from minirun.kernel.hostfiles import write_all
from minirun.kernel.sockets import Socket, packet_pair
from minirun.kernel.trace import step, trace_descriptor
from minirun.model.record import Record
from minirun.runtime.create import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.container import ContainerRecord, ExecSpec, LaunchSpec
    from minirun.model.layout import Layout


class Launched(Record):
    """A process that waits for its start, as the process that asked for it sees it.

    `pid` is its own, `control` leads to its monitor. `monitor` is the monitor's pid: a child of this process, for it to
    wait for if it lives longer. `start_fd` is what an exec'd process waits on; a container waits on its fifo.
    """

    pid: int
    control: Socket
    monitor: int
    start_fd: int = -1


def launch(
    layout: Layout, record: ContainerRecord, spec: LaunchSpec, listener: socket.socket, kept: tuple[int, ...]
) -> Launched:
    """Bring the container up; it waits for `lifecycle.start`. Raises MinirunError with nothing left but the bundle.

    The monitor will listen on `listener` and keep the descriptors in `kept` open.
    """
    return _launch(Job(layout.root, layout.state, record, container=spec, listener=listener.fileno(), kept=kept))


def launch_exec(layout: Layout, record: ContainerRecord, spec: ExecSpec) -> Launched:
    """Bring up a further process in a running container, under a monitor of its own; it waits for `start_exec`.

    Raises MinirunError.
    """
    start_read, start_write = os.pipe2(os.O_CLOEXEC)
    try:
        launched = _launch(Job(layout.root, layout.state, record, process=spec, start=start_read))
    except BaseException:
        os.close(start_write)
        raise
    finally:
        os.close(start_read)
    return launched.replace(start_fd=start_write)


def start_exec(launched: Launched) -> None:
    """Let an exec'd process go."""
    with step("let the process go", "exec"):
        write_all(launched.start_fd, b"\0")
        os.close(launched.start_fd)


def _launch(job: Job) -> Launched:
    """Start a shim, and wait until it has reported and become the monitor."""
    channel, theirs = protocol.open_channel()
    control, monitor_end = packet_pair()
    try:
        job = job.replace(channel=theirs.fileno(), control=monitor_end.fileno(), trace=trace_descriptor())
        pid = _execute(job, channel) if process.has_threads() else _fork(job, channel, control)
        theirs.close()
        monitor_end.close()
        kind, answer, _ = channel.receive()
        if kind == protocol.FAILED:
            protocol.raise_failure(answer)
        if kind != CREATED:
            raise protocol.child_died(pid)
        # End of file: the shim has become the monitor, which from now on knows this process by its control socket.
        if channel.receive()[0] == protocol.FAILED:
            raise MinirunError("the container's monitor could not be started")
    except BaseException:
        control.close()
        raise
    finally:
        theirs.close()
        monitor_end.close()
        channel.close()
    return Launched(answer["pid"], control, pid)


def _fork(job: Job, *ours: protocol.Channel | socket.socket) -> int:
    """Start a shim as a copy of this process, without its ends of the channels; return its pid."""
    from minirun.engine.shim import shim  # here, for those that wait for a container's end and start none

    pid = process.fork()
    if pid == 0:
        for end in ours:
            end.close()
        shim.run(job)
    return pid


def _execute(job: Job, channel: protocol.Channel) -> int:
    """Start a shim as a new Python, which reads its job from the channel; return its pid. Raises MinirunError."""
    with step("start a shim", "monitor"):
        pid = process.start_program(process.own_python("minirun.engine.shim.shim", str(job.channel)), job.descriptors())
        channel.send("job", job.as_dict())
    return pid
