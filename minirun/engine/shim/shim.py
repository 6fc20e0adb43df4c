"""The shim: the process that makes a container's world on the host's side, and then becomes its monitor.

It has a mount namespace of its own: the overlay is mounted there and nowhere else, so no mount of a container ever
shows on the host, and when its last process has ended, the kernel unmounts it. When the container stands, the shim
becomes the monitor by exec and so is the parent of the container's first process. What it brings up is in its `Job`;
the process that started it (`launch`) waits at the other end of its channel.
"""

from __future__ import annotations

import _signal as signal  # the C part of `signal`, which would bring `enum` along, for 5 ms
import _socket as socket  # not all of `socket`: see kernel/sockets.py
import os

from minirun.engine.container import exec_process
from minirun.engine.shim import cleanup
from minirun.engine.shim.job import CREATED, Job
from minirun.engine.spec import build as spec
from minirun.engine.spec import host_cgroups, users
from minirun.kernel.files import make_directory
from minirun.kernel.hostfiles import replace
from minirun.kernel.mount import PROPAGATION, set_propagation
from minirun.kernel.path import read_file_in_root
from minirun.kernel.privilege import available_capabilities
from minirun.kernel.process import NAMESPACE_FLAGS, execute, native_program, new_session, send_signal, unshare
from minirun.kernel.trace import forget_steps, forward_to, name_process, set_tracer, step
from minirun.model import jsontext
from minirun.model.layout import Layout
from minirun.runtime import lifecycle, state
from minirun.runtime.bundle import load_spec
from minirun.runtime.cgroup.hierarchy import directory_of, find_hierarchy
from minirun.runtime.create.protocol import Channel
from minirun.storage import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NoReturn

    from minirun.engine.spec.users import User
    from minirun.model.container import ContainerRecord, ExecSpec, LaunchSpec, VolumeMount
    from minirun.model.image import Image, Snapshot
    from minirun.runtime.create.protocol import Cloned

MONITOR_PROGRAM = native_program("monitor")


def main(descriptor: str) -> NoReturn:
    """Be the shim that a process with threads has started: the job is the first message on its channel."""
    channel = Channel(socket.socket(fileno=int(descriptor)))
    job = Job.read_back(channel.receive()[1])
    for fd in job.descriptors():
        os.set_inheritable(fd, False)
    if job.trace >= 0:
        set_tracer(forward_to(socket.socket(fileno=job.trace)))
    run(job)


def run(job: Job) -> NoReturn:
    """Do the job, so that a forked shim never returns into the code of its parent, and always says why it fails."""
    channel = Channel(socket.socket(fileno=job.channel))
    try:
        # Ctrl-C is the command's business, which the shim hears of by the end of its channel.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        new_session()
        name_process("shim")
        forget_steps()
        layout = Layout(job.root, job.state)
        if job.container:
            bring_up_container(layout, job, job.container, channel)
        if job.process:
            bring_up_exec(layout, job, job.process, channel)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it must be told and must not return
        channel.send_failure(error)
    finally:
        os._exit(1)


def bring_up_container(layout: Layout, job: Job, wanted: LaunchSpec, channel: Channel) -> NoReturn:
    """Mount, write the bundle, create, become the monitor."""
    record = job.record
    bundle = layout.bundle(record.id)
    image = wanted.image or images.load_image(layout, record.image_id)
    snapshot = images.snapshot(layout, image, layout.container(record.id), f"{bundle}/rootfs")
    peers = _peers(wanted.mounts)
    mount_snapshot(snapshot)
    root = os.open(snapshot.target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    user = _user(record, image, root)
    wanted = wanted.replace(mounts=place_mounts(layout, wanted.mounts, root, f"{bundle}/mounts", user, peers))
    write_bundle(record, image, wanted, bundle, user)
    os.close(root)

    streams = _Streams(tty=record.request.tty, stdin=record.request.open_stdin)
    # A container that can see the host's hierarchies needs a cgroup of its own in each of them.
    use_v1 = host_cgroups.are_shown(wanted.mounts)
    options = lifecycle.CreateOptions(
        stdio=streams.container, cache_dir=layout.cache, use_cgroup_v1=use_v1, caller=channel.fileno()
    )
    cloned = lifecycle.create(layout.runtime, record.id, bundle, load_spec(bundle), options)
    try:
        channel.send(CREATED, {"pid": cloned.pid})
        arguments = _monitor_arguments(layout, job)
        become_monitor(record.id, cloned, streams, job.control, arguments, cleanup.command(layout, record.id))
    except BaseException:
        # The command was killed meanwhile: nobody would ever start the container, which waits for that.
        lifecycle.delete(layout.runtime, record.id, force=True)
        raise


def _monitor_arguments(layout: Layout, job: Job) -> list[str]:
    record = job.record
    arguments = ["--exit-file", f"{layout.container(record.id)}/exit.json"]
    if record.request.log_driver == "json-file":
        arguments += ["--log", f"{layout.container(record.id)}/container.log", *_log_options(record.request.log_opts)]
    arguments += ["--listen", _inherit(job.listener)]
    if record.request.open_stdin and not record.request.tty:
        arguments.append("--stdin-once")
    events = f"{directory_of(find_hierarchy(), f'/minirun/{record.id}', record.id)}/memory.events"
    if os.path.exists(events):
        arguments += ["--memory-events", events]
    for first, last in _runs(job.kept):
        arguments += ["--keep", f"{first}-{last}"]
    return arguments


def _runs(kept: Iterable[int]) -> list[tuple[int, int]]:
    """Let the monitor inherit descriptors; return the first and the last of those whose numbers follow each other."""
    runs: list[tuple[int, int]] = []
    for fd in sorted(kept):
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
        try:
            make_directory(snapshot.target)
        except FileExistsError:
            pass  # a shim that was killed has left it
        images.stack(snapshot)


def place_mounts(
    layout: Layout, mounts: tuple[VolumeMount, ...], root: int, directory: str, user: User, peers: dict[str, int]
) -> tuple[VolumeMount, ...]:
    """Return the mounts with places of the host as sources, after all that they need is mounted, filled and given."""
    if peers or any(mount.kind in ("volume", "image") for mount in mounts):
        from minirun.engine.volume.placing import Places

        mounts = Places(layout, root, directory, peers).of_all(mounts)
    for mount in mounts:
        if mount.own:
            from minirun.engine.volume.owning import give_to

            give_to(mount.source, user.uid, user.gid)
    return mounts


def _peers(mounts: tuple[VolumeMount, ...]) -> dict[str, int]:
    """Return, by their targets, copies of the host's mounts that are to be shared with it: made in time, before this
    process cuts the ties between its mounts and the host's."""
    if not any("shared" in word for mount in mounts for word in mount.options):
        return {}
    from minirun.engine.volume.propagation import clone_peers

    return clone_peers(mounts)


def _user(record: ContainerRecord, image: Image, root: int) -> User:
    """Return whom the command runs as, by the container's own files."""
    passwd = read_file_in_root(root, "/etc/passwd") or ""
    group = read_file_in_root(root, "/etc/group") or ""
    return users.resolve(record.request.user or image.config.user, record.request.group_add, passwd, group)


def write_bundle(record: ContainerRecord, image: Image, wanted: LaunchSpec, bundle: str, user: User) -> None:
    """Write the OCI bundle's config.json: what Docker's options mean, in the runtime specification's words."""
    request = record.request
    found = spec.SpecInputs(
        container_id=record.id,
        hostname=wanted.hostname,
        user=user,
        files=wanted.files,
        available=available_capabilities(),
        mounts=wanted.mounts,
        joined=wanted.joined,
    )
    config = spec.build(request, image.config, found)
    if request.tty and wanted.console_size[0]:
        rows, columns = wanted.console_size
        config["process"]["consoleSize"] = {"height": rows, "width": columns}
    replace(f"{bundle}/config.json", jsontext.dumps(config))


def bring_up_exec(layout: Layout, job: Job, wanted: ExecSpec, channel: Channel) -> NoReturn:
    """Bring up a further process in a running container, and become the monitor of that."""
    record, request = job.record, wanted.request
    container_spec = load_spec(layout.bundle(record.id))
    pid = state.load(layout.runtime, record.id).pid
    process = exec_process.of_request(request, container_spec, pid, wanted.console_size)
    streams = _Streams(tty=request.tty, stdin=request.open_stdin)
    options = lifecycle.ExecOptions(
        stdio=streams.container,
        cache_dir=layout.cache,
        start_fd=job.start,
        seccomp=not request.privileged,
        caller=channel.fileno(),
    )
    cloned = lifecycle.execute(layout.runtime, record.id, process, container_spec, options)
    once = [] if request.tty else ["--stdin-once"]
    try:
        channel.send(CREATED, {"pid": cloned.pid})
        become_monitor(record.id, cloned, streams, job.control, ["--exit-file", wanted.exit_file, *once], [])
    except BaseException:
        # The command was killed meanwhile. Left to itself, the process would wait for its next parent: the
        # container's PID namespace ends only when all of its processes are reaped.
        send_signal(cloned.pid, signal.SIGKILL)
        os.waitpid(cloned.pid, 0)
        raise


class _Streams:
    """The pipes between monitor and container; with a terminal there are none, for the pty comes from inside."""

    def __init__(self, *, tty: bool, stdin: bool) -> None:
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
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
