"""Docker's meaning of a container: create, run, start, wait, execute; how it ends is in `ending`.

`run` is the main job, and reads as what it is: a record, a network endpoint, a container that waits, wires, go.
"""

from __future__ import annotations

import os
import signal
import time

from minirun.engine import volumes
from minirun.engine.container import attach as attaching
from minirun.engine.container import bundle_lock, publishing, records
from minirun.engine.container.ending import kill, remove, send_signal, stop
from minirun.engine.container.records import all_records, find, find_any
from minirun.engine.container.status import Status, status, wait_until_free
from minirun.engine.image import platforms
from minirun.engine.shim import cleanup, launch
from minirun.engine.spec import host_cgroups
from minirun.engine.spec.build import arguments
from minirun.errors import MinirunError
from minirun.kernel.hostfiles import make_private
from minirun.kernel.trace import step
from minirun.model.container import ContainerRecord, ExecRequest, LaunchSpec, VolumeMount
from minirun.model.record import Record
from minirun.network import endpoints, resolv_files
from minirun.runtime import lifecycle
from minirun.storage import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from minirun.engine.container.bundle_lock import BundleLock
    from minirun.engine.shim.launch import Launched
    from minirun.model.container import RunRequest
    from minirun.model.image import Image
    from minirun.model.layout import Layout

__all__ = [
    "Attachment",
    "ExecRequest",
    "Status",
    "all_records",
    "attach",
    "create",
    "execute",
    "find",
    "find_any",
    "kill",
    "pause",
    "remove",
    "rename",
    "run",
    "start",
    "status",
    "stop",
    "unpause",
    "wait",
]


class Attachment(Record):
    """How a foreground command stands between the user and the container.

    `streams` holds those of "stdin", "stdout" and "stderr" that are the user's; `detach_keys` is the user's text, ""
    for the default.
    """

    streams: frozenset[str]
    sig_proxy: bool = True
    detach_keys: str = ""


# -- making -----------------------------------------------------------------------------------------------------------


def create(layout: Layout, request: RunRequest) -> ContainerRecord:
    """Make a container without starting it. Raises MinirunError with nothing left."""
    cleanup.collect(layout)
    record, claim = _create(layout, request)
    claim.discard()
    return record


def run(
    layout: Layout,
    request: RunRequest,
    attachment: Attachment | None,
    created: Callable[[ContainerRecord], None],
) -> int:
    """Make and start a container; with an attachment wait for its end and return its exit code, else 0.

    `created` is called with the record before the start. Raises MinirunError; with --rm nothing is left then.
    """
    if request.network == "bridge":
        endpoints.warm_up(layout)
    cleanup.collect(layout)
    record, claim = _create(layout, request)
    with claim:
        try:
            created(record)
        except BaseException:
            cleanup.remove_container(layout, record.id, anonymous_volumes=True)
            claim.discard()
            raise
        try:
            return _start(layout, record, claim, attachment)
        except MinirunError as error:
            if not request.auto_remove and status(layout, record).state == "created":
                error.hint = f"{error.hint} {launch.what_stays(record)}".strip()
            raise


def _create(layout: Layout, request: RunRequest) -> tuple[ContainerRecord, BundleLock]:
    """Write the record, under the claim that makes a half-made container recognisable."""
    image = platforms.checked(_find_image(layout, request.image), request)
    container_id = records.new_id()
    command = arguments(request, image.config)
    # What it refers to must exist before anything is made.
    _joined(layout, request)
    mounts = _all_mounts(layout, request, image)
    claim = bundle_lock.take(layout, container_id)
    if claim is None:
        raise MinirunError("the container's lock is taken")
    try:
        make_private(layout.container(container_id))
        name = records.claim_name(layout, request.name, container_id)
        anonymous: list[str] = []
        named = tuple(_with_name(mount, anonymous) for mount in mounts)
        record = ContainerRecord(
            id=container_id,
            name=name,
            image=request.image,
            image_id=image.id,
            command=command,
            created_at=time.time(),
            request=host_cgroups.with_fitting_namespace(request.replace(mounts=named)),
            anonymous_volumes=tuple(anonymous),
        )
        records.save(layout, record)
        images.confirm(layout, image.id)
    except BaseException:
        records.remove(layout, container_id)
        claim.discard()
        raise
    return record, claim


def _find_image(layout: Layout, name: str) -> Image:
    try:
        return images.find(layout, name)
    except MinirunError as error:
        if not error.message.startswith("No such image"):
            raise
        wanted = error.message.removeprefix("No such image: ")
        raise MinirunError(
            f"Unable to find image '{wanted}' locally", "Add it with 'minirun load' or 'minirun import'."
        ) from None


def _find_other(layout: Layout, name: str) -> ContainerRecord:
    """Return a container that an option names. Raises MinirunError, with exit code 125 as for any wrong option."""
    try:
        return find(layout, name)
    except MinirunError as error:
        raise MinirunError(error.message, error.hint) from None


def _all_mounts(layout: Layout, request: RunRequest, image: Image) -> tuple[VolumeMount, ...]:
    """Return the request's mounts, those of --volumes-from, and an anonymous volume for each VOLUME of the image."""
    mounts = list(request.mounts)
    taken = {mount.target for mount in mounts}
    for text in request.volumes_from:
        name, _, mode = text.partition(":")
        for mount in _find_other(layout, name).request.mounts:
            if mount.target not in taken and mount.kind != "tmpfs":
                taken.add(mount.target)
                mounts.append(mount.replace(read_only=True) if mode == "ro" else mount)
    if image.config.volumes:
        from minirun.engine.spec.mount_flags import checked_target

        targets = dict.fromkeys(checked_target(volume, f"VOLUME {volume}") for volume in image.config.volumes)
        mounts += [VolumeMount("volume", target) for target in targets if target not in taken]
    return tuple(mounts)


def _with_name(mount: VolumeMount, anonymous: list[str]) -> VolumeMount:
    """Give an anonymous volume the random name it lives under."""
    if mount.kind != "volume" or mount.source:
        return mount
    anonymous.append(records.new_id())
    return mount.replace(source=anonymous[-1])


# -- starting ---------------------------------------------------------------------------------------------------------


def start(layout: Layout, record: ContainerRecord, attachment: Attachment | None = None) -> int:
    """Start a container that does not run; with an attachment wait for its end and return its exit code, else 0."""
    cleanup.collect(layout)
    if record.request.network == "bridge":
        endpoints.warm_up(layout)
    if status(layout, record).state == "exited":
        wait_until_free(layout, record.id)  # its monitor may still be cleaning up
    claim = bundle_lock.take(layout, record.id, wait=False)
    if claim is None:
        if attachment:
            raise MinirunError("You cannot start and attach a container that is running", "Use 'attach'.", 1)
        return 0
    with claim:
        return _start(layout, records.load(layout, record.id), claim, attachment)


def _start(layout: Layout, record: ContainerRecord, claim: BundleLock, attachment: Attachment | None) -> int:
    sockets: tuple[socket.socket, ...] = ()
    launched: Launched | None = None
    try:
        endpoint = None
        if record.request.network == "bridge":
            with step(
                "take an address and the host's ports", "network", "Nothing is wired yet, but nobody can take them."
            ):
                prepared = publishing.prepare(layout, record)
                endpoint, sockets = prepared.endpoint, prepared.sockets
        previous_exit = records.exit_status(layout, record.id)
        record = record.replace(endpoint=endpoint, started_at=time.time())
        records.save(layout, record)
        if previous_exit:
            os.unlink(f"{layout.container(record.id)}/exit.json")
        records.reserve_exit_status(layout, record.id)
        with attaching.listen(layout.bundle(record.id)) as listener:
            hold = (claim.fd, *(held.fileno() for held in sockets))
            launched = launch.launch(layout, record, _job(layout, record), listener, hold)
        claim.release()
        if endpoint:
            endpoints.attach(layout, record.id, endpoint, launched.pid)
        if attachment:
            streams = attachment.streams
            attaching.subscribe(
                launched.control,
                stdin="stdin" in streams and record.request.open_stdin,
                stdout="stdout" in streams,
                stderr="stderr" in streams,
            )
        lifecycle.start(layout.runtime, record.id)
        attaching.say_started(launched.control)
    except BaseException:
        _give_up(layout, record, claim, launched)
        raise
    finally:
        for held in sockets:
            held.close()
    if attachment is None:
        attaching.say_detached(launched.control)
        launched.control.close()
        return 0
    return _follow(layout, record, launched.control, attachment)


def _give_up(layout: Layout, record: ContainerRecord, claim: BundleLock, launched: Launched | None) -> None:
    """Unmake a start that failed: the container is as if it had never been started."""
    if launched:
        # The monitor has the lock, and cleans up after the end.
        send_signal(layout, record, signal.SIGKILL)
        launched.control.close()
        taken = bundle_lock.take(layout, record.id)
        if taken is None:
            return
        claim = taken
    try:
        records.save(layout, record.replace(started_at=0.0))
    except OSError:
        pass  # removed by the monitor's clean-up, with --rm
    cleanup.unmake(layout, record.id, claim)


def _follow(layout: Layout, record: ContainerRecord, control: socket.socket, attachment: Attachment) -> int:
    """Stay in the foreground until the container's end, then unmake it and return its exit code."""
    with control:
        ended = attaching.attach(
            control,
            stdin="stdin" in attachment.streams and record.request.open_stdin,
            tty=record.request.tty,
            detach_keys=_detach_keys(attachment.detach_keys),
            send_signal=_signal_sender(layout, record) if attachment.sig_proxy else None,
        )
        if isinstance(ended, attaching.Detached):
            attaching.say_detached(control)
            return 0
        cleanup.unmake(layout, record.id)
        attaching.say_cleaned(control)
        return ended.code


def _detach_keys(text: str) -> bytes:
    return attaching.parse_detach_keys(text) if text else attaching.DETACH_KEYS


def _signal_sender(layout: Layout, record: ContainerRecord) -> Callable[[int], None]:
    def send(number: int) -> None:
        try:
            lifecycle.kill(layout.runtime, record.id, number)
        except MinirunError:
            pass  # it has just ended; its exit record is on the way

    return send


def _job(layout: Layout, record: ContainerRecord) -> LaunchSpec:
    """Prepare on the host what the shim needs: volumes, the three files of /etc, namespaces to join."""
    mounts, fresh = _host_mounts(layout, record)
    return LaunchSpec(
        files=_write_files(layout, record),
        mounts=mounts,
        fresh_volumes=fresh,
        joined=_joined(layout, record.request),
        console_size=attaching.terminal_size() or (0, 0) if record.request.tty else (0, 0),
    )


def _host_mounts(layout: Layout, record: ContainerRecord) -> tuple[tuple[VolumeMount, ...], tuple[VolumeMount, ...]]:
    """Return all mounts with paths of the host as sources, and those volumes that may have to be filled."""
    mounts, fresh = [], []
    for mount in record.request.mounts:
        if mount.kind == "volume":
            placed = mount.replace(kind="bind", source=volumes.ensure(layout, mount.source))
            if mount.copy_up:
                fresh.append(placed)
        elif mount.kind == "bind":
            _ensure_source(mount)
            placed = mount
        else:
            placed = mount
        mounts.append(placed)
    return tuple(mounts), tuple(fresh)


def _ensure_source(mount: VolumeMount) -> None:
    if os.path.exists(mount.source):
        return
    if not mount.create_source:
        raise MinirunError(
            f'invalid mount config for type "bind": bind source path does not exist: {mount.source}',
            "Make it first, or use -v, which makes a missing directory.",
        )
    try:
        os.makedirs(mount.source, exist_ok=True)
    except OSError as error:
        raise MinirunError(f"cannot make the directory {mount.source} to mount: {error.strerror}") from error


def _write_files(layout: Layout, record: ContainerRecord) -> str:
    """Write resolv.conf, hosts and hostname, which the container gets as bind mounts; return their directory."""
    request, directory = record.request, layout.container(record.id)
    if request.network.startswith("container:"):
        return layout.container(find(layout, request.network.removeprefix("container:")).id)
    hostname = launch.hostname_of(record)
    if request.network == "host" and not request.extra_hosts:
        hosts = resolv_files.host_text("/etc/hosts")
    else:
        address, gateway = (record.endpoint.address, record.endpoint.gateway) if record.endpoint else ("", "")
        hosts = resolv_files.hosts_file(hostname, request.domainname, address, request.extra_hosts, gateway)
    if request.network == "host" and not (request.dns or request.dns_search or request.dns_options):
        resolv = resolv_files.host_text("/etc/resolv.conf")
    else:
        resolv = resolv_files.resolv_conf(
            resolv_files.host_resolv_conf(), request.dns, request.dns_search, request.dns_options
        )
    for name, text in (("hosts", hosts), ("resolv.conf", resolv), ("hostname", f"{hostname}\n")):
        # In place: a container that shares this one's network has these very files mounted.
        with open(f"{directory}/{name}", "w", encoding="utf-8") as file:
            file.write(text)
    return directory


def _joined(layout: Layout, request: RunRequest) -> dict[str, str]:
    """Return the namespaces of other containers to join: type to path. Raises MinirunError if one does not run."""
    modes = {"network": request.network, "pid": request.pid_mode, "ipc": request.ipc_mode}
    files = {"network": "net", "pid": "pid", "ipc": "ipc"}
    joined = {}
    for kind, mode in modes.items():
        if mode.startswith("container:"):
            name = mode.removeprefix("container:")
            pid = status(layout, _find_other(layout, name)).pid
            if not pid:
                raise MinirunError(f"cannot join the {kind} namespace of container {name}: it is not running")
            joined[kind] = f"/proc/{pid}/ns/{files[kind]}"
    return joined


# -- looking ----------------------------------------------------------------------------------------------------------


def wait(layout: Layout, record: ContainerRecord) -> int:
    """Wait until the container does not run and return its exit code."""
    connection = attaching.connect(layout, record.id)
    if connection:
        with connection:
            attaching.subscribe(connection)
            ended = attaching.wait_exit(connection)
            if ended:
                return ended.code
    last = status(layout, record).exit
    return last.code if last else 0


# -- changing ---------------------------------------------------------------------------------------------------------


def pause(layout: Layout, record: ContainerRecord) -> None:
    """Freeze every process of the container."""
    lifecycle.pause(layout.runtime, _running(layout, record).id)


def unpause(layout: Layout, record: ContainerRecord) -> None:
    """Let a paused container go on."""
    if status(layout, record).state != "paused":
        raise MinirunError(f"Container {record.id} is not paused", "", 1)
    lifecycle.resume(layout.runtime, record.id)


def rename(layout: Layout, record: ContainerRecord, name: str) -> None:
    """Give the container another name. Raises MinirunError (exit code 1) when it is taken."""
    try:
        records.claim_name(layout, name, record.id)
    except MinirunError as error:
        raise MinirunError(error.message, error.hint, 1) from None
    records.save(layout, records.load(layout, record.id).replace(name=name))
    os.unlink(f"{layout.names}/{record.name}")


# -- joining ----------------------------------------------------------------------------------------------------------


def attach(layout: Layout, record: ContainerRecord, attachment: Attachment) -> int:
    """Attach to a running container until its end; return its exit code, 0 after detaching."""
    _running(layout, record)
    connection = attaching.connect(layout, record.id)
    if connection is None:
        raise MinirunError("You cannot attach to a stopped container, start it first", "", 1)
    streams = attachment.streams
    with connection:
        stdin = "stdin" in streams and record.request.open_stdin
        attaching.subscribe(connection, stdin=stdin, stdout="stdout" in streams, stderr="stderr" in streams)
        if record.request.tty:
            attaching.ask_redraw(connection)
        ended = attaching.attach(
            connection,
            stdin=stdin,
            tty=record.request.tty,
            detach_keys=_detach_keys(attachment.detach_keys),
            send_signal=_signal_sender(layout, record) if attachment.sig_proxy else None,
        )
    return 0 if isinstance(ended, attaching.Detached) else ended.code


def _running(layout: Layout, record: ContainerRecord) -> ContainerRecord:
    now = status(layout, record).state
    if now == "paused":
        raise MinirunError(
            f"Container {record.name} is paused, unpause the container first", "'minirun unpause' lets it go on.", 1
        )
    if now != "running":
        raise MinirunError(f"Container {record.id} is not running", "'minirun start' starts it.", 1)
    return record


def execute(layout: Layout, record: ContainerRecord, request: ExecRequest, attachment: Attachment | None) -> int:
    """Run a further command in a running container; with an attachment return its exit code, else 0."""
    _running(layout, record)
    exit_file = f"{layout.bundle(record.id)}/exec-{records.new_id()[:12]}.json"
    console_size = attaching.terminal_size() if request.tty else None
    launched = launch.launch_exec(layout, record, request, exit_file, console_size)
    control = launched.control
    if attachment is None:
        launch.start_exec(launched)
        attaching.say_started(control)
        attaching.say_detached(control)
        control.close()
        return 0
    streams = attachment.streams
    attaching.subscribe(control, stdin=request.open_stdin, stdout="stdout" in streams, stderr="stderr" in streams)
    launch.start_exec(launched)
    attaching.say_started(control)
    ended = attaching.attach(
        control,
        stdin=request.open_stdin,
        tty=request.tty,
        detach_keys=_detach_keys(attachment.detach_keys),
        send_signal=None,
    )
    if isinstance(ended, attaching.Detached):
        return 0
    attaching.say_cleaned(control)
    try:
        os.unlink(exit_file)
    except FileNotFoundError:
        pass  # the container ended with it and its bundle is gone
    return ended.code
