"""What is done to a container that runs: execute a command in it, attach, pause, wait for its end."""

from __future__ import annotations

from minirun.engine.container import attaching, monitor_client, publishing, records
from minirun.engine.container.ending import signal_sender
from minirun.engine.container.status import status
from minirun.engine.shim import launch
from minirun.errors import MinirunError
from minirun.kernel import hostfiles
from minirun.model.container import ExecSpec
from minirun.runtime import lifecycle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.engine.container.attaching import Attachment
    from minirun.model.container import ContainerRecord, ExecRequest
    from minirun.model.layout import Layout


def wait(layout: Layout, record: ContainerRecord) -> int:
    """Wait until the container does not run and return its exit code."""
    connection = monitor_client.connect(layout, record.id)
    if connection:
        with connection:
            monitor_client.subscribe(connection)
            ended = monitor_client.wait_exit(connection)
            if ended:
                return ended.code
    last = status(layout, record).exit
    return last.code if last else 0


def pause(layout: Layout, record: ContainerRecord) -> None:
    """Freeze every process of the container."""
    lifecycle.pause(layout.runtime, _running(layout, record).id)


def unpause(layout: Layout, record: ContainerRecord) -> None:
    """Let a paused container go on."""
    if status(layout, record).state != "paused":
        raise MinirunError(f"Container {record.id} is not paused", "", 1)
    lifecycle.resume(layout.runtime, record.id)


def attach(layout: Layout, record: ContainerRecord, attachment: Attachment) -> int:
    """Attach to a running container until its end; return its exit code, 0 after detaching."""
    _running(layout, record)
    connection = monitor_client.connect(layout, record.id)
    if connection is None:
        raise MinirunError("You cannot attach to a stopped container, start it first", "", 1)
    streams = attachment.streams
    with connection:
        stdin = "stdin" in streams and record.request.open_stdin
        monitor_client.subscribe(connection, stdin=stdin, stdout="stdout" in streams, stderr="stderr" in streams)
        if record.request.tty:
            attaching.ask_redraw(connection)
        ended = attaching.attach(
            connection,
            stdin=stdin,
            tty=record.request.tty,
            detach_keys=attachment.keys(),
            send_signal=signal_sender(layout, record) if attachment.sig_proxy else None,
        )
    return 0 if isinstance(ended, attaching.Detached) else ended.code


def execute(
    layout: Layout,
    record: ContainerRecord,
    request: ExecRequest,
    attachment: Attachment | None,
    console_size: tuple[int, int] = (0, 0),
) -> int:
    """Run a further command in a running container; with an attachment return its exit code, else 0.

    `console_size` is what a terminal of its own begins with, (rows, columns).
    """
    _running(layout, record)
    exit_file = f"{layout.bundle(record.id)}/exec-{records.new_id()[:12]}.json"
    publishing.look_after(layout, record)
    launched = launch.launch_exec(layout, record, ExecSpec(request, exit_file, console_size))
    control = launched.control
    if attachment is None:
        launch.start_exec(launched)
        monitor_client.say_started(control)
        monitor_client.say_detached(control)
        control.close()
        return 0
    streams = attachment.streams
    monitor_client.subscribe(control, stdin=request.open_stdin, stdout="stdout" in streams, stderr="stderr" in streams)
    launch.start_exec(launched)
    monitor_client.say_started(control)
    ended = attaching.attach(
        control,
        stdin=request.open_stdin,
        tty=request.tty,
        detach_keys=attachment.keys(),
        send_signal=None,
    )
    if isinstance(ended, attaching.Detached):
        return 0
    monitor_client.say_cleaned(control)
    hostfiles.remove(exit_file)  # unless the container ended with it and its bundle is gone
    return ended.code


def _running(layout: Layout, record: ContainerRecord) -> ContainerRecord:
    now = status(layout, record).state
    if now == "paused":
        raise MinirunError(
            f"Container {record.name} is paused, unpause the container first", "'minirun unpause' lets it go on.", 1
        )
    if now != "running":
        raise MinirunError(f"Container {record.id} is not running", "'minirun start' starts it.", 1)
    return record
