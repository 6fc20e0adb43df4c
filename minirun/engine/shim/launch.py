"""Bringing a container up: from a record to a process that waits for its start, with a monitor as its parent.

    command ──fork──> shim ──clone3──> container
       │                 │                    │
       │                 └─exec─> monitor     └─exec─> init, which waits
       └─ reads its flags meanwhile

The shim is forked before the command has read its flags: importing what reads flags (click) and importing what
makes a container take about equally long, and so both happen at once. Then the command tells it, over a channel,
which container to build. This module is the command's side; `shim` is the other. It is imported before everything
else, so it imports little itself.
"""

from __future__ import annotations

import os
import signal
import socket

from minirun.errors import MinirunError
from minirun.kernel.trace import step, trace_descriptor
from minirun.model.record import Record
from minirun.runtime.create import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from minirun.model.container import ContainerRecord, ExecRequest, LaunchSpec
    from minirun.model.layout import Layout
    from minirun.runtime.create.protocol import Channel

CREATED = "created"
HOLD = "hold"
_FDS_PER_MESSAGE = 200  # the kernel takes 253 in one (unix(7), SCM_RIGHTS); a range of ports may be longer


class Launched(Record):
    """A process that stands before its start, seen from the command: its pid and its monitor's control socket.

    `start_fd` is what an exec'd process waits on; a container waits on its fifo.
    """

    pid: int
    control: socket.socket
    start_fd: int = -1


class Shim(Record):
    """A shim that waits for its job."""

    channel: Channel
    pid: int


_waiting: Shim | None = None


def start_shim() -> None:
    """Fork a shim that prepares itself while this process, which must have one thread, does something else."""
    global _waiting
    ours, theirs = protocol.open_channel()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _be_shim(theirs)
    theirs.close()
    _waiting = Shim(ours, pid)


def _be_shim(channel: Channel) -> NoReturn:
    """Run the shim so that it never returns into the command's code and always says why it fails."""
    try:
        # Ctrl-C is the command's business, which the shim hears of by the end of its channel.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        from minirun.engine.shim import shim

        shim.serve(channel)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it must be told and must not return
        channel.send_failure(error)
    finally:
        os._exit(1)


def launch(
    layout: Layout, record: ContainerRecord, job: LaunchSpec, listener: socket.socket, hold: tuple[int, ...]
) -> Launched:
    """Bring the container up; it waits for `lifecycle.start`. Raises MinirunError with nothing left but the bundle.

    The monitor will listen on `listener` and keep the descriptors in `hold` open.
    """
    return _give_job(layout, record, "container", job.as_dict(), (listener.fileno(),), hold)


def launch_exec(
    layout: Layout, record: ContainerRecord, request: ExecRequest, exit_file: str, console_size: tuple[int, int] | None
) -> Launched:
    """Bring up a further process in a running container, under a monitor of its own; it waits for `start_exec`.

    Raises MinirunError.
    """
    from minirun.engine.container import publishing

    publishing.look_after(layout, record)
    start_read, start_write = os.pipe2(os.O_CLOEXEC)
    try:
        job = {"request": request.as_dict(), "exit_file": exit_file, "console_size": console_size}
        launched = _give_job(layout, record, "exec", job, (start_read,))
    except BaseException:
        os.close(start_write)
        raise
    finally:
        os.close(start_read)
    return launched.replace(start_fd=start_write)


def start_exec(launched: Launched) -> None:
    """Let an exec'd process go."""
    with step("let the process go", "exec"):
        os.write(launched.start_fd, b"\0")
        os.close(launched.start_fd)


def _give_job(
    layout: Layout,
    record: ContainerRecord,
    kind: str,
    job: dict[str, Any],
    fds: tuple[int, ...],
    hold: tuple[int, ...] = (),
) -> Launched:
    """Tell the shim what to build, and wait until it has reported and become the monitor."""
    global _waiting
    if _waiting is None:
        start_shim()
    shim, _waiting = _waiting, None
    if shim is None:
        raise MinirunError("the shim was not started")
    control, monitor_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    traced = trace_descriptor()
    fields = {"root": layout.root, "state": layout.state, "id": record.id, "job": job, "traced": traced >= 0}
    try:
        for start in range(0, len(hold), _FDS_PER_MESSAGE):
            shim.channel.send(HOLD, {"of": len(hold)}, *hold[start : start + _FDS_PER_MESSAGE])
        shim.channel.send(kind, fields, monitor_end.fileno(), *fds, *((traced,) if traced >= 0 else ()))
        monitor_end.close()
        kind, answer, _ = shim.channel.receive()
        if kind == protocol.FAILED:
            protocol.raise_failure(answer)
        if kind != CREATED:
            raise protocol.child_died(shim.pid)
        # End of file: the shim has become the monitor, which from now on knows this command by its control socket.
        if shim.channel.receive()[0] == protocol.FAILED:
            raise MinirunError("the container's monitor could not be started")
    except BaseException:
        control.close()
        raise
    finally:
        shim.channel.close()
    return Launched(answer["pid"], control)


def what_stays(record: ContainerRecord) -> str:
    """Say what there is after a `run` without --rm whose start has failed, and what can be done with it."""
    return (
        f"The container {record.name} was created and stays: 'minirun start {record.name}' tries again, "
        f"'minirun rm {record.name}' removes it."
    )


def hostname_of(record: ContainerRecord) -> str:
    """Return the container's host name: asked for, the host's where that is shared, else the id's first 12 digits."""
    if record.request.hostname:
        return record.request.hostname
    if record.request.uts_mode == "host" or record.request.network == "host":
        return os.uname().nodename
    return record.id[:12]
