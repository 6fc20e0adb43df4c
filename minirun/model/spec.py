"""The runtime specification's config.json as values: what a bundle asks a runtime for.

Field names are the specification's, in Python's spelling; sections in the docstrings are those of runtime-spec's
config.md and config-linux.md. `Spec.from_dict` is the edge where JSON ends: it checks the form and names the field it
dislikes.
"""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.model.config_fields import Fields
from minirun.model.oci_version import OCI_VERSION
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAMESPACE_TYPES = ("user", "pid", "mount", "uts", "ipc", "network", "cgroup", "time")
HOOK_KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_U32, _U64 = (1 << 32) - 1, (1 << 64) - 1


class Capabilities(Record):
    """The five sets (capabilities(7)) by name, "CAP_CHOWN"."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


class Rlimit(Record):
    """One resource limit; `type` is "RLIMIT_NOFILE"."""

    type: str
    soft: int
    hard: int


class Process(Record):
    """config.md, "Process": what is executed, as whom and with which rights.

    The two lists of CPUs are those of `execCPUAffinity`; they hold for processes that join a container.
    """

    args: tuple[str, ...]
    cwd: str
    env: tuple[str, ...] = ()
    terminal: bool = False
    console_rows: int = 0
    console_columns: int = 0
    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()
    umask: int | None = None
    capabilities: Capabilities | None = None
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool = False
    oom_score_adj: int | None = None
    apparmor_profile: str = ""
    selinux_label: str = ""
    io_priority: tuple[str, int] | None = None
    scheduler: Scheduler | None = None
    cpu_affinity_initial: str = ""
    cpu_affinity_final: str = ""

    @property
    def has_label(self) -> bool:
        """Whether a security module is told of the command: AppArmor or SELinux."""
        return bool(self.apparmor_profile or self.selinux_label)


class Scheduler(Record):
    """config.md, "Linux Process", scheduler: the fields of `struct sched_attr`, by their names in sched_setattr(2)."""

    policy: str
    nice: int = 0
    priority: int = 0
    flags: tuple[str, ...] = ()
    runtime: int = 0
    deadline: int = 0
    period: int = 0


class IdMapping(Record):
    """One range of user or group ids: `size` ids from `container` on stand for those from `host` on."""

    container: int
    host: int
    size: int


def on_host(number: int, mapping: tuple[IdMapping, ...]) -> int | None:
    """Return what an id of a user namespace is outside of it; None if it is nobody's."""
    for part in mapping:
        if part.container <= number < part.container + part.size:
            outside: int = part.host + number - part.container
            return outside
    return None


class MountSpec(Record):
    """config.md, "Mounts": one mount, in the order of the list."""

    destination: str
    type: str = ""
    source: str = ""
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()


class Namespace(Record):
    """config-linux.md, "Namespaces": a fresh one of `type`, or the one at `path`."""

    type: str
    path: str = ""


class Device(Record):
    """config-linux.md, "Devices": a device node; `type` is "c", "b", "u" or "p"."""

    path: str
    type: str
    major: int = 0
    minor: int = 0
    file_mode: int = 0o666
    uid: int = 0
    gid: int = 0


class Hook(Record):
    """config.md, "POSIX-platform Hooks": a program to run; `timeout` in seconds, 0 for none."""

    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int = 0


class MemoryPolicy(Record):
    """config-linux.md, "Memory policy": `mode` and `flags` are names of set_mempolicy(2), `nodes` is like "0-3,7"."""

    mode: str
    nodes: str = ""
    flags: tuple[str, ...] = ()


class IntelRdt(Record):
    """config-linux.md, "IntelRdt": a class of service in resctrl, and the lines for its `schemata`, in their order."""

    clos_id: str = ""
    schemata: tuple[str, ...] = ()
    monitoring: bool = False


class Spec(Record):
    """A whole config.json.

    `resources` and `seccomp` stay in the specification's own form: the parts that carry them out read them there.
    `net_devices` maps a network device's name on the host to its name in the container.
    """

    oci_version: str
    root_path: str
    process: Process | None = None
    root_readonly: bool = False
    hostname: str = ""
    domainname: str = ""
    mounts: tuple[MountSpec, ...] = ()
    hooks: dict[str, tuple[Hook, ...]] = {}
    annotations: dict[str, str] = {}
    namespaces: tuple[Namespace, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    time_offsets: dict[str, tuple[int, int]] = {}
    devices: tuple[Device, ...] = ()
    cgroups_path: str = ""
    resources: dict[str, Any] = {}
    rootfs_propagation: str = ""
    seccomp: dict[str, Any] | None = None
    sysctl: dict[str, str] = {}
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str = ""
    personality: str = ""
    memory_policy: MemoryPolicy | None = None
    intel_rdt: IntelRdt | None = None
    net_devices: dict[str, str] = {}

    def has_namespace(self, kind: str) -> bool:
        """Say whether the container gets a namespace of this type that is not its creator's."""
        return any(namespace.type == kind for namespace in self.namespaces)

    @classmethod
    def from_dict(cls, config: dict[str, Any]) -> Spec:
        """Read config.json's object. Raises MinirunError that names the field."""
        field = Fields(config, "")
        root, linux, hooks = field.section("root"), field.section("linux"), field.section("hooks")
        given = linux.values.get
        return cls(
            oci_version=_version(field),
            root_path=root.text("path"),
            root_readonly=root.flag("readonly"),
            process=_process(field.section("process")) if config.get("process") else None,
            hostname=field.text("hostname", ""),
            domainname=field.text("domainname", ""),
            mounts=field.each("mounts", _mount),
            hooks={kind: hooks.each(kind, _hook) for kind in HOOK_KINDS if kind in hooks.values},
            annotations=_annotations(field),
            namespaces=linux.each("namespaces", _namespace),
            uid_mappings=linux.each("uidMappings", _id_mapping),
            gid_mappings=linux.each("gidMappings", _id_mapping),
            time_offsets=_time_offsets(linux.section("timeOffsets")),
            devices=linux.each("devices", _device),
            cgroups_path=linux.text("cgroupsPath", ""),
            resources=linux.section("resources").values,
            rootfs_propagation=linux.text("rootfsPropagation", ""),
            seccomp=linux.values.get("seccomp"),
            sysctl=linux.mapping("sysctl"),
            masked_paths=_absolute_paths(linux, "maskedPaths"),
            readonly_paths=_absolute_paths(linux, "readonlyPaths"),
            mount_label=linux.text("mountLabel", ""),
            personality=_personality(linux.section("personality")),
            memory_policy=_memory_policy(linux.section("memoryPolicy")) if given("memoryPolicy") is not None else None,
            intel_rdt=_intel_rdt(linux.section("intelRdt")) if given("intelRdt") is not None else None,
            net_devices=_net_devices(linux.section("netDevices")) if linux.values.get("netDevices") else {},
        )


def process_from_json(document: object) -> Process:
    """Read a process object, as `exec --process` gives it. Raises MinirunError that names the field."""
    return _process(Fields(document, "process."))


def _version(field: Fields) -> str:
    """Read ociVersion, which is one of semantic versioning: what is newer than this runtime may mean something else."""
    version = field.text("ociVersion")
    numbers = version.partition("+")[0].partition("-")[0].split(".")
    if len(numbers) != 3 or not all(part.isdecimal() and part == str(int(part)) for part in numbers):
        raise MinirunError(f"config.json: ociVersion '{version}' is not a version", "Write it like 1.0.0.")
    newest = OCI_VERSION.split(".")[1]
    if numbers[0] != "1" or int(numbers[1]) > int(newest):
        raise MinirunError(
            f"config.json: ociVersion '{version}' is not supported", f"minirun reads versions 1.0 to 1.{newest}."
        )
    return version


def _annotations(field: Fields) -> dict[str, str]:
    annotations = field.mapping("annotations")
    if "" in annotations:
        raise MinirunError("config.json: annotations has an empty key")
    return annotations


def _absolute_paths(field: Fields, key: str) -> tuple[str, ...]:
    paths = field.texts(key)
    for path in paths:
        if not path.startswith("/"):
            raise MinirunError(f"config.json: {field.name}{key}: '{path}' is not an absolute path")
    return paths


def _personality(field: Fields) -> str:
    if not field.values:
        return ""
    if field.texts("flags"):
        raise MinirunError(f"config.json: {field.name}flags: no flags are defined")
    return field.text("domain")


def _memory_policy(field: Fields) -> MemoryPolicy:
    return MemoryPolicy(field.text("mode", ""), field.text("nodes", ""), field.texts("flags"))


def _intel_rdt(field: Fields) -> IntelRdt:
    cache, bandwidth = field.text("l3CacheSchema", ""), field.text("memBwSchema", "")
    if bandwidth and (not bandwidth.startswith("MB:") or "\n" in bandwidth):
        raise MinirunError(f"config.json: {field.name}memBwSchema '{bandwidth}' is not one line that starts with MB:")
    lines = field.texts("schemata")
    if any("\n" in line for line in lines):
        raise MinirunError(f"config.json: {field.name}schemata holds a line break", "Each element is one line.")
    schemata = (*cache.splitlines(), *((bandwidth,) if bandwidth else ()), *lines)
    return IntelRdt(field.text("closID", ""), schemata, field.flag("enableMonitoring"))


def _net_devices(field: Fields) -> dict[str, str]:
    return {name: field.section(name).text("name", "") or name for name in field.values}


def _time_offsets(field: Fields) -> dict[str, tuple[int, int]]:
    offsets = {}
    for clock in field.values:
        offset = field.section(clock)
        if clock not in ("monotonic", "boottime"):
            raise MinirunError(f"config.json: {field.name}{clock} is not a clock that can have an offset")
        offsets[clock] = (offset.number("secs", 0), offset.number("nanosecs", 0, highest=999_999_999))
    return offsets


def _id_mapping(field: Fields) -> IdMapping:
    return IdMapping(*(field.number(key, highest=_U32) for key in ("containerID", "hostID", "size")))


def _hook(field: Fields) -> Hook:
    path = field.text("path")
    if not path.startswith("/"):
        raise MinirunError(f"config.json: {field.name}path '{path}' is not an absolute path")
    timeout = field.number("timeout", 0)
    if field.values.get("timeout") is not None and timeout <= 0:
        raise MinirunError(f"config.json: {field.name}timeout must be greater than zero")
    return Hook(path, field.texts("args"), field.texts("env"), timeout)


def _scheduler(field: Fields) -> Scheduler | None:
    if not field.values:
        return None
    numbers = {name: field.number(name, 0) for name in ("nice", "priority", "runtime", "deadline", "period")}
    policy = field.text("policy")
    for name in ("runtime", "deadline") if policy == "SCHED_DEADLINE" else ():
        if field.values.get(name) is None:
            raise MinirunError(f"config.json: {field.name}: sched_setattr: `SCHED_DEADLINE` requires `{name}`")
    return Scheduler(policy, flags=field.texts("flags"), **numbers)


def _process(field: Fields) -> Process:
    user, console = field.section("user"), field.section("consoleSize")
    sets = field.section("capabilities")
    io, affinity = field.section("ioPriority"), field.section("execCPUAffinity")
    cwd = field.text("cwd")
    if not cwd.startswith("/"):
        raise MinirunError(f"config.json: process.cwd '{cwd}' is not an absolute path")
    return Process(
        args=field.words("args"),
        cwd=cwd,
        env=field.texts("env"),
        terminal=field.flag("terminal"),
        console_rows=console.number("height", 0),
        console_columns=console.number("width", 0),
        uid=user.number("uid", 0, highest=_U32),
        gid=user.number("gid", 0, highest=_U32),
        additional_gids=user.numbers("additionalGids", highest=_U32),
        umask=user.number("umask", highest=0o7777) if user.values.get("umask") is not None else None,
        capabilities=Capabilities(*(sets.texts(name) for name in Capabilities._fields)) if sets.values else None,
        rlimits=field.each("rlimits", _rlimit),
        no_new_privileges=field.flag("noNewPrivileges"),
        oom_score_adj=field.number("oomScoreAdj") if field.values.get("oomScoreAdj") is not None else None,
        apparmor_profile=field.text("apparmorProfile", ""),
        selinux_label=field.text("selinuxLabel", ""),
        io_priority=(io.text("class"), io.number("priority", 0)) if io.values else None,
        scheduler=_scheduler(field.section("scheduler")),
        cpu_affinity_initial=affinity.text("initial", ""),
        cpu_affinity_final=affinity.text("final", ""),
    )


def _rlimit(field: Fields) -> Rlimit:
    return Rlimit(field.text("type"), field.number("soft", highest=_U64), field.number("hard", highest=_U64))


def _mount(field: Fields) -> MountSpec:
    return MountSpec(
        field.text("destination"),
        field.text("type", ""),
        field.text("source", ""),
        field.texts("options"),
        field.each("uidMappings", _id_mapping),
        field.each("gidMappings", _id_mapping),
    )


def _namespace(field: Fields) -> Namespace:
    kind = field.text("type")
    if kind not in NAMESPACE_TYPES:
        raise MinirunError(f"config.json: {field.name}type '{kind}' is not a namespace type")
    path = field.text("path", "")
    if path and not path.startswith("/"):
        raise MinirunError(f"config.json: {field.name}path '{path}' is not an absolute path")
    return Namespace(kind, path)


def _device(field: Fields) -> Device:
    kind = field.text("type")
    if kind not in ("c", "b", "u", "p"):
        raise MinirunError(f"config.json: {field.name}type '{kind}' is not c, b, u or p")
    path = field.text("path").rstrip("/")
    if not path:
        raise MinirunError(f"config.json: {field.name}path names no file")
    return Device(
        path,
        kind,
        field.number("major", 0 if kind == "p" else None),
        field.number("minor", 0 if kind == "p" else None),
        field.number("fileMode", 0o666, highest=_U32),
        field.number("uid", 0, highest=_U32),
        field.number("gid", 0, highest=_U32),
    )
