"""Bringing a container up: from a record to a process that waits for its start, with a monitor as its parent.

    command ──fork──> builder ──clone3──> container
                         │                    │
                         └─exec─> monitor     └─exec─> init, which waits

The builder is a fork of the command, with a mount namespace of its own: the overlay is mounted there and nowhere
else, so no mount of a container ever shows on the host, and when its last process has ended, the kernel unmounts it.
When the container stands, the builder becomes the monitor by exec and so is the parent of the container's first
process.
"""

from __future__ import annotations

import json
import os

from minirun.engine import attach, garbage, spec, users, volumes
from minirun.errors import MinirunError
from minirun.kernel.mount import PROPAGATION, mount, set_propagation
from minirun.kernel.path import read_file_in_root
from minirun.kernel.privilege import available_capabilities
from minirun.kernel.process import NAMESPACE_FLAGS, execute, new_session, unshare
from minirun.kernel.trace import forget_steps, name_process, step
from minirun.model.record import Record
from minirun.runtime import cgroup, handshake, lifecycle
from minirun.storage import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import NoReturn

    from minirun.engine.containers import ExecRequest
    from minirun.model.container import ContainerRecord, VolumeMount
    from minirun.model.image import Image
    from minirun.model.layout import Layout
    from minirun.model.snapshot import Snapshot
    from minirun.model.spec import Process, Spec
    from minirun.runtime.handshake import Channel
    from minirun.runtime.parent import Cloned

MONITOR_PROGRAM = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "native", "bin", "monitor")
CREATED = "created"


class Surroundings(Record):
    """What the command has prepared for the builder.

    `mounts` are all volumes with absolute host paths; `fresh_volumes` those to be filled from the image; `joined` the
    namespaces shared with other containers; `console_size` the terminal's (rows, columns); `hold` descriptors that the
    monitor keeps open (the lock, reserved ports).
    """

    image: Image
    files: str
    mounts: tuple[VolumeMount, ...]
    fresh_volumes: tuple[VolumeMount, ...]
    joined: dict[str, str]
    console_size: tuple[int, int]
    hold: tuple[int, ...]


class Launched(Record):
    """A process that stands before its start, seen from the command: its pid and its monitor's control socket.

    `start_fd` is what an exec'd process waits on; a container waits on its fifo.
    """

    pid: int
    control: socket.socket
    start_fd: int = -1


def launch(layout: Layout, record: ContainerRecord, prepared: Surroundings) -> Launched:
    """Bring the container up; it waits for `lifecycle.start`. Raises MinirunError with nothing left but the bundle."""
    listener = attach.listen(layout.bundle(record.id))
    try:
        return _fork_builder(lambda channel, control: _build(layout, record, prepared, channel, control, listener))
    finally:
        listener.close()


def launch_exec(
    layout: Layout,
    record: ContainerRecord,
    process: Process,
    container_spec: Spec,
    exit_file: str,
    request: ExecRequest,
) -> Launched:
    """Bring up a further process in a running container, under a monitor of its own; it waits for `start_exec`.

    Raises MinirunError.
    """
    start_read, start_write = os.pipe2(os.O_CLOEXEC)

    def build(channel: Channel, control: socket.socket) -> NoReturn:
        os.close(start_write)  # the process must read end of file, not wait for ever, if this command is killed
        _build_exec(layout, record, process, container_spec, exit_file, request, start_read, channel, control)

    try:
        launched = _fork_builder(build)
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
        attach.say_started(launched.control)


def _fork_builder(build: Callable[[Channel, socket.socket], NoReturn]) -> Launched:
    """Fork a process that runs `build`, and wait until it has reported and become the monitor."""
    import socket

    ours, theirs = handshake.open_channel()
    control, monitor_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        ours.close()
        control.close()
        _guard(theirs, lambda: build(theirs, monitor_end))
    theirs.close()
    monitor_end.close()
    try:
        kind, fields, _ = ours.receive()
        if kind == handshake.FAILED:
            handshake.raise_failure(fields)
        if kind != CREATED:
            raise handshake.child_died(pid)
        # End of file: the builder has become the monitor, which from now on knows this command by its control socket.
        if ours.receive()[0] == handshake.FAILED:
            raise MinirunError("the container's monitor could not be started")
    except BaseException:
        control.close()
        raise
    finally:
        ours.close()
    return Launched(fields["pid"], control)


def _guard(channel: Channel, build: Callable[[], NoReturn]) -> NoReturn:
    """Run the builder so that it never returns into the command's code and always says why it fails."""
    try:
        build()
    except BaseException as error:  # noqa: BLE001 - whatever it is, it must be told and must not return
        channel.send_failure(error)
    finally:
        os._exit(1)


# -- the builder ------------------------------------------------------------------------------------------------------


def _build(
    layout: Layout,
    record: ContainerRecord,
    prepared: Surroundings,
    channel: Channel,
    control: socket.socket,
    listener: socket.socket,
) -> NoReturn:
    """The builder's life: mount, write the bundle, create, become the monitor."""
    name_process("builder")
    forget_steps()
    new_session()
    bundle = layout.bundle(record.id)
    snapshot = images.snapshot(layout, prepared.image, layout.container(record.id), f"{bundle}/rootfs")
    mount_snapshot(snapshot)
    root = os.open(snapshot.target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for volume in prepared.fresh_volumes:
        volumes.copy_up(root, volume.target, volume.source)
    write_bundle(record, prepared, bundle, root)
    os.close(root)

    streams = _Streams(tty=record.request.tty, stdin=record.request.open_stdin)
    options = lifecycle.CreateOptions(stdio=streams.container, cache_dir=layout.cache)
    cloned = lifecycle.create(layout.runtime, record.id, bundle, lifecycle.load_spec(bundle), options)
    channel.send(CREATED, {"pid": cloned.pid})
    arguments = ["--exit-file", f"{layout.container(record.id)}/exit.json"]
    if record.request.log_driver == "json-file":
        arguments += ["--log", f"{layout.container(record.id)}/container.log", *_log_options(record.request.log_opts)]
    arguments += ["--listen", _inherit(listener.fileno())]
    if record.request.open_stdin and not record.request.tty:
        arguments.append("--stdin-once")
    events = f"{cgroup.folder_of(cgroup.find_hierarchy(), f'/minirun/{record.id}', record.id)}/memory.events"
    if os.path.exists(events):
        arguments += ["--memory-events", events]
    for fd in prepared.hold:
        arguments += ["--keep", _inherit(fd)]
    become_monitor(record.id, cloned, streams, control, arguments, garbage.cleanup_command(layout, record.id))


def mount_snapshot(snapshot: Snapshot) -> None:
    """Stack the image's layers and the container's own, in a mount namespace that only this container has."""
    with step(
        "take a mount namespace for the container's monitor",
        "overlayfs",
        "The root file system is mounted in here only: no mount is ever left on the host, whatever is killed.",
    ):
        unshare(NAMESPACE_FLAGS["mount"])
        set_propagation("/", PROPAGATION["rslave"])
    with step(
        f"stack {len(snapshot.lowers)} layers and a writable one",
        "overlayfs",
        "Reading looks through the layers from the top; writing copies the file up into the container's own layer.",
    ):
        os.makedirs(snapshot.target, exist_ok=True)
        # The names of the layers are relative: 127 of them must fit into the one page of options that mount(2) takes.
        os.chdir(snapshot.directory)
        options = f"lowerdir={':'.join(snapshot.lowers)},upperdir={snapshot.upper},workdir={snapshot.work}"
        mount("overlay", snapshot.target, "overlay", 0, options)
        os.chdir("/")


def write_bundle(record: ContainerRecord, prepared: Surroundings, bundle: str, root: int) -> None:
    """Write the OCI bundle's config.json: what Docker's options mean, in the runtime specification's words."""
    passwd = read_file_in_root(root, "/etc/passwd") or ""
    group = read_file_in_root(root, "/etc/group") or ""
    request = record.request
    user = users.resolve(request.user or prepared.image.config.user, request.group_add, passwd, group)
    found = spec.Surroundings(
        container_id=record.id,
        hostname=hostname_of(record),
        user=user,
        files=prepared.files,
        available=available_capabilities(),
        mounts=prepared.mounts,
        joined=prepared.joined,
    )
    config = spec.build(request, prepared.image.config, found)
    if request.tty and prepared.console_size[0]:
        rows, columns = prepared.console_size
        config["process"]["consoleSize"] = {"height": rows, "width": columns}
    with open(f"{bundle}/config.json", "w", encoding="utf-8") as file:
        file.write(json.dumps(config))


def hostname_of(record: ContainerRecord) -> str:
    """Return the container's host name: asked for, the host's where that is shared, else the id's first 12 digits."""
    if record.request.hostname:
        return record.request.hostname
    if record.request.uts_mode == "host" or record.request.network == "host":
        return os.uname().nodename
    return record.id[:12]


def _build_exec(
    layout: Layout,
    record: ContainerRecord,
    process: Process,
    container_spec: Spec,
    exit_file: str,
    request: ExecRequest,
    start_fd: int,
    channel: Channel,
    control: socket.socket,
) -> NoReturn:
    name_process("builder")
    forget_steps()
    new_session()
    streams = _Streams(tty=request.tty, stdin=request.open_stdin)
    options = lifecycle.ExecOptions(
        stdio=streams.container, cache_dir=layout.cache, start_fd=start_fd, seccomp=not request.privileged
    )
    cloned = lifecycle.execute(layout.runtime, record.id, process, container_spec, options)
    channel.send(CREATED, {"pid": cloned.pid})
    once = [] if request.tty else ["--stdin-once"]
    become_monitor(record.id, cloned, streams, control, ["--exit-file", exit_file, *once], [])


class _Streams:
    """The pipes between monitor and container; with a terminal there are none, for the pty comes from inside."""

    def __init__(self, *, tty: bool, stdin: bool) -> None:
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self.container = (null, null, null)
        self.arguments: list[str] = []
        if tty:
            return
        out_read, out_write = os.pipe2(os.O_CLOEXEC)
        err_read, err_write = os.pipe2(os.O_CLOEXEC)
        self.arguments += ["--stdout", _inherit(out_read), "--stderr", _inherit(err_read)]
        in_read = null
        if stdin:
            in_read, in_write = os.pipe2(os.O_CLOEXEC)
            self.arguments += ["--stdin", _inherit(in_write)]
        self.container = (in_read, out_write, err_write)


def become_monitor(
    container_id: str,
    cloned: Cloned,
    streams: _Streams,
    control: socket.socket,
    arguments: list[str],
    cleanup: list[str],
) -> NoReturn:
    """Become the container's monitor: a small C program that keeps this process's children."""
    if cloned.console >= 0:
        streams.arguments = ["--pty", _inherit(cloned.console)]
    argv = ["minirun-monitor", "--id", container_id, "--pid", str(cloned.pid), "--control", _inherit(control.fileno())]
    argv += [*streams.arguments, *arguments]
    if cleanup:
        argv += ["--cleanup", *cleanup]
    with step("become the container's monitor", "monitor", "It takes the output and notes how the container ends."):
        execute(MONITOR_PROGRAM, argv)


def _inherit(fd: int) -> str:
    os.set_inheritable(fd, True)
    return str(fd)


def _log_options(options: dict[str, str]) -> list[str]:
    from minirun.engine.sizes import parse_size

    arguments = []
    if "max-size" in options and options["max-size"] != "-1":
        arguments += ["--log-max-size", str(parse_size(options["max-size"]))]
    if "max-file" in options:
        arguments += ["--log-max-file", options["max-file"]]
    return arguments
