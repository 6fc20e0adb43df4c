"""What a user asks for (RunRequest), what minirun remembers (ContainerRecord) and how a container ended
(ExitStatus)."""

from __future__ import annotations

from minirun.model.image import Image
from minirun.model.network import Endpoint, EndpointSettings, PortMapping
from minirun.model.record import Record
from minirun.model.resources import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.typed import Digest, FileName, Pid, Seconds


class VolumeMount(Record):
    """One `-v`, `--mount` or `--tmpfs`: `kind` is "bind", "volume", "tmpfs" or "image".

    `source` is an absolute host path (bind), a volume's name ("" for an anonymous one), an image's name, and in a
    container's record its id (image), or "" (tmpfs). `create_source` makes a missing bind source, as `-v` does and
    `--mount` does not. `options` are further mount options ("size=64m", "rshared"): "bind" leaves out the mounts below
    the source, "rw-below" leaves these writable where it is itself read-only. `subpath` is what of a volume or an image
    is mounted. A volume that does not exist is made with `labels` and `driver_options`. `own` gives what is mounted to
    the container's user. A volume that is `bare` was given no name, and has a random one. `flag` is what asked for the
    mount, "" for the image's VOLUME and another container's, and `mode` is its last part as it was typed.
    """

    kind: str
    target: str
    source: str = ""
    read_only: bool = False
    create_source: bool = False
    copy_up: bool = True
    options: tuple[str, ...] = ()
    subpath: str = ""
    labels: dict[str, str] = {}
    driver_options: dict[str, str] = {}
    own: bool = False
    bare: bool = False
    flag: str = ""
    mode: str = ""

    def check(self) -> None:
        """Raise ValueError for what cannot be mounted: the name of a volume is part of a path."""
        if self.kind not in ("bind", "volume", "tmpfs", "image"):
            raise ValueError(f"{self.kind!a} is no kind of mount")
        if self.kind == "volume" and ("/" in self.source or self.source in (".", "..")):
            raise ValueError(f"{self.source!a} is no name of a volume")


class Ulimit(Record):
    """One `--ulimit name=soft:hard`; the name is the kernel's without RLIMIT_, in lower case."""

    name: str
    soft: int
    hard: int


class RunRequest(Record):
    """All options of `create` and `run`, already parsed and checked for form.

    `command` None means the image's CMD; `entrypoint` None means the image's ENTRYPOINT, () means none at all.
    `environment` holds NAME=VALUE, or a bare NAME that takes the variable away from the image's. `devices` are
    "HOST:CONTAINER:rwm", `device_cgroup_rules` "c 1:3 rwm", `volumes_from` "ID[:ro]". `seccomp` is "" for the default
    filter, "unconfined", or the text of a JSON profile. `network` is "bridge", "none", "host", "container:ID" or
    the name of a network of the user's, `endpoint` what is asked of the container's place in it.
    `stop_timeout` is seconds. `platform` is the image's, "linux/arm64", or "" for any.
    """

    image: str
    command: tuple[str, ...] | None = None
    name: str = ""
    entrypoint: tuple[str, ...] | None = None
    environment: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    working_dir: str = ""
    user: str = ""
    group_add: tuple[str, ...] = ()
    hostname: str = ""
    domainname: str = ""
    tty: bool = False
    open_stdin: bool = False
    detach: bool = False
    auto_remove: bool = False
    init: bool = False
    stop_signal: str = ""
    stop_timeout: int | None = None
    network: str = "bridge"
    endpoint: EndpointSettings = EndpointSettings()
    ports: tuple[PortMapping, ...] = ()
    publish_all: bool = False
    expose: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    mounts: tuple[VolumeMount, ...] = ()
    read_only: bool = False
    shm_size: int = 64 << 20
    devices: tuple[str, ...] = ()
    device_cgroup_rules: tuple[str, ...] = ()
    volumes_from: tuple[str, ...] = ()
    resources: Resources = Resources()
    ulimits: tuple[Ulimit, ...] = ()
    oom_score_adj: int = 0
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    no_new_privileges: bool = False
    seccomp: str = ""
    unmask_paths: bool = False
    sysctls: dict[str, str] = {}
    pid_mode: str = ""
    ipc_mode: str = ""
    uts_mode: str = ""
    cgroupns_mode: str = ""
    log_driver: str = "json-file"
    log_opts: dict[str, str] = {}
    platform: str = ""

    def check(self) -> None:
        """Raise ValueError for a device that is not HOST:CONTAINER:rwm."""
        if any(device.count(":") != 2 for device in self.devices):
            raise ValueError("devices: not of the form HOST:CONTAINER:rwm")


class ExitStatus(Record):
    """How the container's first process ended. `code` is 128+n for signal n; times are seconds since the epoch."""

    code: int
    signal: int = 0
    oom_killed: bool = False
    finished_at: Seconds = 0.0
    error: str = ""


class ContainerRecord(Record):
    """What Docker's idea of a container adds to the runtime's: kept in root/containers/ID/record.json until `rm`.

    `image_id` is the config digest ("sha256:..."); `command` is what runs, ENTRYPOINT and CMD joined; `started_at` is
    0.0 until the first start. Whether it runs now is not written here: the monitor's lock says so.
    """

    id: FileName
    name: FileName
    image: str
    image_id: Digest
    command: tuple[str, ...]
    created_at: Seconds
    request: RunRequest
    started_at: Seconds = 0.0
    pid: Pid = 0
    endpoint: Endpoint | None = None
    anonymous_volumes: tuple[FileName, ...] = ()

    def check(self) -> None:
        """Raise ValueError if there is nothing to run."""
        if not self.command:
            raise ValueError("command: it is empty")


class LaunchSpec(Record):
    """A container to bring up: what the command has prepared for it.

    `files` is the directory of its resolv.conf, hosts and hostname. `mounts` are those of the request: the shim finds
    their places; `joined` the namespaces shared with other containers; `console_size` the terminal's (rows, columns);
    `image` the image, where it is not the record's.
    """

    hostname: str
    files: str
    mounts: tuple[VolumeMount, ...]
    joined: dict[str, str]
    console_size: tuple[int, int]
    image: Image | None = None


class ExecRequest(Record):
    """The options of `exec`; an empty field means that it is as in the container's first process."""

    command: tuple[str, ...]
    environment: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    tty: bool = False
    open_stdin: bool = False
    detach: bool = False
    privileged: bool = False


class ExecSpec(Record):
    """A further process to bring up in a running container: what was asked for, and what the command adds.

    The monitor writes how it ended to `exit_file`; `console_size` is the terminal's (rows, columns).
    """

    request: ExecRequest
    exit_file: str
    console_size: tuple[int, int]
