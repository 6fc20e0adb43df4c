"""Starting a container: `run` is the main job, and reads as what it is.

A record, a network endpoint, a container that waits, wires, go; then the foreground, until the container's end.
"""

from __future__ import annotations

import _signal as signal  # the C part of `signal`, which would bring `enum` along, for 5 ms
import os
import time

from minirun.engine.container import attaching, bundle_lock, monitor_client, publishing, records
from minirun.engine.container.creating import check_source, joined_namespaces, make
from minirun.engine.container.ending import send_signal, signal_sender
from minirun.engine.container.records import find
from minirun.engine.container.status import MOMENT, status, wait_until_free
from minirun.engine.shim import cleanup, launch
from minirun.errors import MinirunError
from minirun.kernel import hostfiles
from minirun.model.container import LaunchSpec
from minirun.network import drivers, resolv_files
from minirun.network.driver import Reserved
from minirun.runtime import lifecycle
from minirun.storage.volumes import records as volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minirun.engine.container.attaching import Attachment
    from minirun.engine.container.bundle_lock import BundleLock
    from minirun.engine.shim.launch import Launched
    from minirun.kernel.sockets import Socket
    from minirun.model.container import ContainerRecord, RunRequest, VolumeMount
    from minirun.model.image import Image
    from minirun.model.layout import Layout
    from minirun.model.network import Network
    from minirun.network.driver import Driver


def run(
    layout: Layout,
    request: RunRequest,
    attachment: Attachment | None,
    created: Callable[[ContainerRecord], None],
    console_size: tuple[int, int] = (0, 0),
) -> int:
    """Make and start a container; with an attachment wait for its end and return its exit code, else 0.

    `created` is called with the record before the start. `console_size` is what its terminal begins with, (rows,
    columns). Raises MinirunError; with --rm nothing is left then.
    """
    driver = drivers.find(request.network)
    network = driver.set_up(layout)
    cleanup.collect(layout)
    record, lock = make(layout, request)
    with lock:
        try:
            created(record)
        except BaseException:
            cleanup.remove_container(layout, record.id, anonymous_volumes=True)
            lock.discard()
            raise
        try:
            return _start(layout, record, lock, attachment, console_size, driver, network)
        except MinirunError as error:
            if not request.auto_remove and status(layout, record).state == "created":
                error.hint = f"{error.hint} {_what_stays(record)}".strip()
            raise


def start(
    layout: Layout,
    record: ContainerRecord,
    attachment: Attachment | None = None,
    console_size: tuple[int, int] = (0, 0),
) -> int:
    """Start a container that does not run; with an attachment wait for its end and return its exit code, else 0."""
    cleanup.collect(layout)
    driver = drivers.find(record.request.network)
    network = driver.set_up(layout)
    if status(layout, record).state == "exited":
        wait_until_free(layout, record.id)  # its monitor may still be cleaning up
    while (lock := bundle_lock.take(layout, record.id, wait=False)) is None:
        if status(layout, record).is_running:
            if attachment:
                raise MinirunError("You cannot start and attach a container that is running", "Use 'attach'.", 1)
            return 0
        time.sleep(MOMENT)  # `cp` has it, or another `start` that is not done
    with lock:
        return _start(layout, records.load(layout, record.id), lock, attachment, console_size, driver, network)


def _start(
    layout: Layout,
    record: ContainerRecord,
    lock: BundleLock,
    attachment: Attachment | None,
    console_size: tuple[int, int],
    driver: Driver,
    network: Network | None,
) -> int:
    reserved = Reserved()
    launched: Launched | None = None
    try:
        reserved = publishing.reserve(layout, record, driver, network)
        previous_exit = records.exit_status(layout, record.id)
        record = record.replace(endpoint=reserved.endpoint, started_at=time.time())
        records.save(layout, record)
        if previous_exit:
            hostfiles.remove(f"{layout.container(record.id)}/exit.json")
        records.reserve_exit_status(layout, record.id)
        launched = bring_up(layout, record, lock, reserved, console_size=console_size)
        lock.release()
        let_go(layout, record, launched, driver, attachment)
    except BaseException:
        _give_up(layout, record, lock, launched)
        raise
    finally:
        for held in reserved.sockets:
            held.close()
    if attachment is None:
        monitor_client.say_detached(launched.control)
        launched.control.close()
        return 0
    return _follow(layout, record, launched.control, attachment)


def bring_up(
    layout: Layout,
    record: ContainerRecord,
    lock: BundleLock,
    reserved: Reserved,
    image: Image | None = None,
    console_size: tuple[int, int] = (0, 0),
) -> Launched:
    """Bring a container up to where it waits for its start; its monitor has the lock, too. Raises MinirunError.

    Its image is the record's, unless it is given.
    """
    with monitor_client.listen(layout.bundle(record.id)) as listener:
        kept = (lock.fd, *(held.fileno() for held in reserved.sockets))
        return launch.launch(layout, record, _launch_spec(layout, record, console_size, image), listener, kept)


def let_go(
    layout: Layout, record: ContainerRecord, launched: Launched, driver: Driver, attachment: Attachment | None
) -> None:
    """Connect a container that waits to its network, and start it."""
    if record.endpoint:
        driver.attach(layout, record.id, record.endpoint, launched.pid)
        publishing.warn_of_cut_off(layout, driver)
    if attachment:
        streams = attachment.streams
        monitor_client.subscribe(
            launched.control,
            stdin="stdin" in streams and record.request.open_stdin,
            stdout="stdout" in streams,
            stderr="stderr" in streams,
        )
    lifecycle.start(layout.runtime, record.id)
    monitor_client.say_started(launched.control)


def _what_stays(record: ContainerRecord) -> str:
    """Say what there is after a `run` without --rm whose start has failed, and what can be done with it."""
    return (
        f"The container {record.name} was created and stays: 'minirun start {record.name}' tries again, "
        f"'minirun rm {record.name}' removes it."
    )


def _give_up(layout: Layout, record: ContainerRecord, lock: BundleLock, launched: Launched | None) -> None:
    """Take down what a start that failed has made: the container is as if it had never been started."""
    if launched:
        # The monitor has the lock, and cleans up after the end.
        send_signal(layout, record, signal.SIGKILL)
        launched.control.close()
        taken = bundle_lock.take(layout, record.id)
        if taken is None:
            return
        lock = taken
    try:
        records.save(layout, record.replace(started_at=0.0))
    except OSError:
        pass  # removed by the monitor's clean-up, with --rm
    cleanup.tear_down(layout, record.id, lock)


def _follow(layout: Layout, record: ContainerRecord, control: Socket, attachment: Attachment) -> int:
    """Stay in the foreground until the container's end, then take it down and return its exit code."""
    with control:
        ended = attaching.attach(
            control,
            stdin="stdin" in attachment.streams and record.request.open_stdin,
            tty=record.request.tty,
            detach_keys=attachment.keys(),
            send_signal=signal_sender(layout, record) if attachment.sig_proxy else None,
        )
        if isinstance(ended, attaching.Detached):
            monitor_client.say_detached(control)
            return 0
        cleanup.tear_down(layout, record.id)
        monitor_client.say_cleaned(control)
        return ended.code


# -- what the shim gets ------------------------------------------------------------------------------------------------


def _launch_spec(
    layout: Layout, record: ContainerRecord, console_size: tuple[int, int], image: Image | None
) -> LaunchSpec:
    """Prepare on the host what the shim needs: volumes, the three files of /etc, namespaces to join."""
    _ensure_sources(layout, record)
    return LaunchSpec(
        hostname=_hostname(record),
        files=_write_files(layout, record),
        mounts=record.request.mounts,
        joined=joined_namespaces(layout, record.request),
        console_size=console_size,
        image=image,
    )


def _hostname(record: ContainerRecord) -> str:
    """Return the container's host name: asked for, the host's where that is shared, else the id's first 12 digits."""
    if record.request.hostname:
        return record.request.hostname
    if record.request.uts_mode == "host" or drivers.find(record.request.network).shares_host:
        return os.uname().nodename
    return record.id[:12]


def _ensure_sources(layout: Layout, record: ContainerRecord) -> None:
    """Make what is missing of the sources of mounts: volumes, and directories for -v. Raises MinirunError, OSError."""
    for mount in record.request.mounts:
        if mount.kind == "bind":
            _ensure_source(mount)
        elif mount.kind == "volume" and not volumes.exists(layout, mount.source):
            from minirun.engine.volume import making  # somebody has removed its directory by hand

            with volumes.locked(layout):
                making.make_missing(layout, record)


def _ensure_source(mount: VolumeMount) -> None:
    check_source(mount)
    if not os.path.exists(mount.source):
        try:
            hostfiles.make_directories(mount.source)
        except OSError as error:
            raise MinirunError(f"cannot make the directory {mount.source} to mount: {error.strerror}") from error
    if any("shared" in word or "slave" in word for word in mount.options):
        from minirun.engine.volume.propagation import check_source_mount

        check_source_mount(mount)


def _write_files(layout: Layout, record: ContainerRecord) -> str:
    """Write resolv.conf, hosts and hostname, which the container gets as bind mounts; return their directory."""
    request, directory = record.request, layout.container(record.id)
    driver = drivers.find(request.network)
    if driver.container:
        return layout.container(find(layout, driver.container).id)
    hostname = _hostname(record)
    if driver.shares_host and not request.extra_hosts:
        hosts = resolv_files.host_text("/etc/hosts")
    else:
        address, gateway = (record.endpoint.address, record.endpoint.gateway) if record.endpoint else ("", "")
        hosts = resolv_files.hosts_file(hostname, request.domainname, address, request.extra_hosts, gateway)
    if driver.shares_host and not (request.dns or request.dns_search or request.dns_options):
        resolv = resolv_files.host_text("/etc/resolv.conf")
    elif driver.has_names:
        resolv = resolv_files.own_resolv_conf(resolv_files.host_resolv_conf(), request.dns_search, request.dns_options)
    else:
        resolv = resolv_files.resolv_conf(
            resolv_files.host_resolv_conf(), request.dns, request.dns_search, request.dns_options
        )
    for name, text in (("hosts", hosts), ("resolv.conf", resolv), ("hostname", f"{hostname}\n")):
        # In place: a container that shares this one's network has these very files mounted.
        hostfiles.overwrite(f"{directory}/{name}", text)
    return directory
