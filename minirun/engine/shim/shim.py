"""The shim: the process that makes a container's world on the host's side, and then becomes its monitor.

It has a mount namespace of its own: the overlay is mounted there and nowhere else, so no mount of a container ever
shows on the host, and when its last process has ended, the kernel unmounts it. When the container stands, the shim
becomes the monitor by exec and so is the parent of the container's first process. `launch` is the other side of its
channel.
"""

from __future__ import annotations

import json
import os
import signal
import socket

from minirun.engine import volumes
from minirun.engine.container import exec_process, records
from minirun.engine.shim import cleanup
from minirun.engine.shim.launch import CREATED, HOLD, hostname_of
from minirun.engine.spec import build as spec
from minirun.engine.spec import host_cgroups, users
from minirun.kernel import limits
from minirun.kernel.mount import PROPAGATION, mount, set_propagation
from minirun.kernel.path import read_file_in_root
from minirun.kernel.privilege import available_capabilities
from minirun.kernel.process import NAMESPACE_FLAGS, execute, native_program, new_session, unshare
from minirun.kernel.trace import forget_steps, forward_to, name_process, set_tracer, step
from minirun.model.container import ExecRequest, LaunchSpec
from minirun.model.layout import Layout
from minirun.runtime import lifecycle, state
from minirun.runtime.cgroup import v2 as cgroup
from minirun.storage import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, NoReturn

    from minirun.model.container import ContainerRecord
    from minirun.model.image import Image
    from minirun.model.snapshot import Snapshot
    from minirun.runtime.create.protocol import Channel, Cloned

MONITOR_PROGRAM = native_program("monitor")


def serve(channel: Channel) -> NoReturn:
    """Wait for one job and do it; end silently if the command ends without one."""
    new_session()
    kind, fields, fds = channel.receive_all()
    held: list[int] = []
    limit = limits.allow_open_files(fields["of"]) if kind == HOLD else 0
    while kind == HOLD:
        held += fds
        kind, fields, fds = channel.receive_all()
    if limit:
        # The container inherits the limit, and what is opened until then must find numbers below it.
        held = limits.move_descriptors_up(held, limit)
        limits.limit_open_files(limit)
    if not kind:
        os._exit(0)
    if fields["traced"]:
        set_tracer(forward_to(socket.socket(fileno=fds.pop())))
    name_process("shim")
    forget_steps()
    layout = Layout(fields["root"], fields["state"])
    record = records.load(layout, fields["id"])
    control, *others = fds
    if kind == "container":
        bring_up_container(layout, record, LaunchSpec.read_back(fields["job"]), channel, control, *others, *held)
    bring_up_exec(layout, record, fields["job"], channel, control, *others)


def bring_up_container(
    layout: Layout,
    record: ContainerRecord,
    job: LaunchSpec,
    channel: Channel,
    control: int,
    listener: int,
    *hold: int,
) -> NoReturn:
    """Mount, write the bundle, create, become the monitor, which keeps `hold` open: the lock, reserved ports."""
    bundle = layout.bundle(record.id)
    image = images.load_image(layout, record.image_id)
    snapshot = images.snapshot(layout, image, layout.container(record.id), f"{bundle}/rootfs")
    mount_snapshot(snapshot)
    root = os.open(snapshot.target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for volume in job.fresh_volumes:
        volumes.copy_up(root, volume.target, volume.source)
    write_bundle(record, image, job, bundle, root)
    os.close(root)

    streams = _Streams(tty=record.request.tty, stdin=record.request.open_stdin)
    # Where the host's hierarchies are to be seen, the container needs a place of its own in each of them.
    use_v1 = host_cgroups.are_shown(job.mounts)
    options = lifecycle.CreateOptions(
        stdio=streams.container, cache_dir=layout.cache, use_cgroup_v1=use_v1, caller=channel.fileno()
    )
    cloned = lifecycle.create(layout.runtime, record.id, bundle, lifecycle.load_spec(bundle), options)
    try:
        channel.send(CREATED, {"pid": cloned.pid})
        arguments = _monitor_arguments(layout, record, listener, hold)
        become_monitor(record.id, cloned, streams, control, arguments, cleanup.cleanup_command(layout, record.id))
    except BaseException:
        # The command was killed meanwhile: nobody would ever start the container, which waits for that.
        lifecycle.delete(layout.runtime, record.id, force=True)
        raise


def _monitor_arguments(layout: Layout, record: ContainerRecord, listener: int, hold: tuple[int, ...]) -> list[str]:
    arguments = ["--exit-file", f"{layout.container(record.id)}/exit.json"]
    if record.request.log_driver == "json-file":
        arguments += ["--log", f"{layout.container(record.id)}/container.log", *_log_options(record.request.log_opts)]
    arguments += ["--listen", _inherit(listener)]
    if record.request.open_stdin and not record.request.tty:
        arguments.append("--stdin-once")
    events = f"{cgroup.directory_of(cgroup.find_hierarchy(), f'/minirun/{record.id}', record.id)}/memory.events"
    if os.path.exists(events):
        arguments += ["--memory-events", events]
    for first, last in _runs(hold):
        arguments += ["--keep", f"{first}-{last}"]
    return arguments


def _runs(hold: Iterable[int]) -> list[tuple[int, int]]:
    """Let the monitor inherit descriptors; return the first and the last of those whose numbers follow each other."""
    runs: list[tuple[int, int]] = []
    for fd in sorted(hold):
        os.set_inheritable(fd, True)
        if runs and runs[-1][1] == fd - 1:
            runs[-1] = (runs[-1][0], fd)
        else:
            runs.append((fd, fd))
    return runs


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


def write_bundle(record: ContainerRecord, image: Image, job: LaunchSpec, bundle: str, root: int) -> None:
    """Write the OCI bundle's config.json: what Docker's options mean, in the runtime specification's words."""
    passwd = read_file_in_root(root, "/etc/passwd") or ""
    group = read_file_in_root(root, "/etc/group") or ""
    request = record.request
    user = users.resolve(request.user or image.config.user, request.group_add, passwd, group)
    found = spec.SpecInputs(
        container_id=record.id,
        hostname=hostname_of(record),
        user=user,
        files=job.files,
        available=available_capabilities(),
        mounts=job.mounts,
        joined=job.joined,
    )
    config = spec.build(request, image.config, found)
    if request.tty and job.console_size[0]:
        rows, columns = job.console_size
        config["process"]["consoleSize"] = {"height": rows, "width": columns}
    with open(f"{bundle}/config.json", "w", encoding="utf-8") as file:
        file.write(json.dumps(config))


def bring_up_exec(
    layout: Layout, record: ContainerRecord, job: dict[str, Any], channel: Channel, control: int, start_fd: int
) -> NoReturn:
    """Bring up a further process in a running container, and become the monitor of that."""
    request = ExecRequest.read_back(job["request"])
    container_spec = lifecycle.load_spec(layout.bundle(record.id))
    pid = state.load(layout.runtime, record.id).pid
    process = exec_process.of_request(request, container_spec, pid, job["console_size"])
    streams = _Streams(tty=request.tty, stdin=request.open_stdin)
    options = lifecycle.ExecOptions(
        stdio=streams.container,
        cache_dir=layout.cache,
        start_fd=start_fd,
        seccomp=not request.privileged,
        caller=channel.fileno(),
    )
    cloned = lifecycle.execute(layout.runtime, record.id, process, container_spec, options)
    once = [] if request.tty else ["--stdin-once"]
    try:
        channel.send(CREATED, {"pid": cloned.pid})
        become_monitor(record.id, cloned, streams, control, ["--exit-file", job["exit_file"], *once], [])
    except BaseException:
        # The command was killed meanwhile. Left to itself, the process would wait for whoever becomes its parent: the
        # container's PID namespace ends only when all of its processes are reaped.
        os.kill(cloned.pid, signal.SIGKILL)
        os.waitpid(cloned.pid, 0)
        raise


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
    control: int,
    arguments: list[str],
    cleanup: list[str],
) -> NoReturn:
    """Become the container's monitor: a small C program that keeps this process's children."""
    if cloned.console >= 0:
        streams.arguments = ["--pty", _inherit(cloned.console)]
    argv = ["minirun-monitor", "--id", container_id, "--pid", str(cloned.pid), "--control", _inherit(control)]
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
