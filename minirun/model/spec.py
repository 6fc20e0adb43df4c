"""The runtime specification's config.json as values: what a bundle asks a runtime for.

Field names are the specification's, in Python's spelling; sections in the docstrings are those of runtime-spec's
config.md and config-linux.md. `Spec.from_dict` is the edge where JSON ends: it checks the form and names the field it
dislikes.
"""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

OCI_VERSION = "1.2.0"  # the newest version of the specification that this runtime carries out
NAMESPACE_TYPES = ("user", "pid", "mount", "uts", "ipc", "network", "cgroup", "time")


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
    """config.md, "Process": what is executed, as whom and with which rights."""

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


class Spec(Record):
    """A whole config.json.

    `resources` and `seccomp` stay in the specification's own form: the parts that carry them out read them there.
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

    def has_namespace(self, kind: str) -> bool:
        """Say whether the container gets a namespace of this type that is not its creator's."""
        return any(namespace.type == kind for namespace in self.namespaces)

    @classmethod
    def from_dict(cls, config: dict[str, Any]) -> Spec:
        """Read config.json's object. Raises MinirunError that names the field."""
        field = _Reader(config, "")
        version = field.text("ociVersion")
        if version.split(".")[0] != "1":
            raise MinirunError(f"config.json has ociVersion '{version}'", "minirun reads versions 1.0 to 1.3.")
        root, linux = field.section("root"), field.section("linux")
        _refuse_unsupported(linux)
        hooks = field.section("hooks")
        return cls(
            oci_version=version,
            root_path=root.text("path"),
            root_readonly=root.flag("readonly"),
            process=_process(field.section("process")) if config.get("process") else None,
            hostname=field.text("hostname", ""),
            domainname=field.text("domainname", ""),
            mounts=field.each("mounts", _mount),
            hooks={name: hooks.each(name, _hook) for name in hooks.values},
            annotations=field.mapping("annotations"),
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
            masked_paths=linux.texts("maskedPaths"),
            readonly_paths=linux.texts("readonlyPaths"),
            mount_label=linux.text("mountLabel", ""),
            personality=linux.section("personality").text("domain", ""),
        )


class _Reader:
    """Reads typed fields out of one JSON object and names the field in the error when the type is wrong."""

    def __init__(self, values: object, name: str) -> None:
        if not isinstance(values, dict):
            raise MinirunError(f"config.json: {name or 'the document'} is not an object")
        self.values: dict[str, Any] = values
        self.name = name

    def _get(self, key: str, kind: type, default: Any) -> Any:
        value = self.values.get(key)
        if value is None:
            value = default
        right = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
        if not right:
            what = "is missing" if value is None else f"is not {_KINDS[kind]}"
            raise MinirunError(f"config.json: {self.name}{key} {what}")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        value: str = self._get(key, str, default)
        if "\0" in value:
            raise MinirunError(f"config.json: {self.name}{key} holds a NUL character")
        return value

    def number(self, key: str, default: int | None = None) -> int:
        return int(self._get(key, int, default))

    def flag(self, key: str) -> bool:
        return bool(self._get(key, bool, False))

    def section(self, key: str) -> _Reader:
        return _Reader(self._get(key, dict, {}), f"{self.name}{key}.")

    def texts(self, key: str) -> tuple[str, ...]:
        values: list[Any] = self._get(key, list, [])
        if not all(isinstance(value, str) and "\0" not in value for value in values):
            raise MinirunError(f"config.json: {self.name}{key} is not a list of strings")
        return tuple(values)

    def mapping(self, key: str) -> dict[str, str]:
        values: dict[str, Any] = self._get(key, dict, {})
        if not all(isinstance(value, str) for value in values.values()):
            raise MinirunError(f"config.json: {self.name}{key} is not a map of strings")
        return values

    def each(self, key: str, read: Callable[[_Reader], T]) -> tuple[T, ...]:
        values: list[Any] = self._get(key, list, [])
        return tuple(read(_Reader(value, f"{self.name}{key}[{index}].")) for index, value in enumerate(values))


_KINDS = {str: "a string", int: "a number", bool: "true or false", dict: "an object", list: "a list"}


def process_from_json(document: object) -> Process:
    """Read a process object, as `exec --process` gives it. Raises MinirunError that names the field."""
    return _process(_Reader(document, "process."))


def _refuse_unsupported(linux: _Reader) -> None:
    """Refuse what this runtime cannot carry out, by its name."""
    for name, why in _UNSUPPORTED.items():
        if linux.values.get(name):
            raise MinirunError(f"config.json: linux.{name} is not supported: {why}")


_UNSUPPORTED = {
    "intelRdt": "minirun has no support for Intel's resource control (resctrl)",
    "memoryPolicy": "minirun does not set NUMA memory policies",
    "netDevices": "minirun does not move network devices",
}


def _time_offsets(field: _Reader) -> dict[str, tuple[int, int]]:
    offsets = {}
    for clock in field.values:
        offset = field.section(clock)
        if clock not in ("monotonic", "boottime"):
            raise MinirunError(f"config.json: {field.name}{clock} is not a clock that can have an offset")
        offsets[clock] = (offset.number("secs", 0), offset.number("nanosecs", 0))
    return offsets


def _id_mapping(field: _Reader) -> IdMapping:
    return IdMapping(field.number("containerID"), field.number("hostID"), field.number("size"))


def _hook(field: _Reader) -> Hook:
    path = field.text("path")
    if not path.startswith("/"):
        raise MinirunError(f"config.json: {field.name}path '{path}' is not an absolute path")
    timeout = field.number("timeout", 0)
    if field.values.get("timeout") is not None and timeout <= 0:
        raise MinirunError(f"config.json: {field.name}timeout must be greater than zero")
    return Hook(path, field.texts("args"), field.texts("env"), timeout)


def _scheduler(field: _Reader) -> Scheduler | None:
    if not field.values:
        return None
    numbers = {name: field.number(name, 0) for name in ("nice", "priority", "runtime", "deadline", "period")}
    return Scheduler(field.text("policy"), flags=field.texts("flags"), **numbers)


def _process(field: _Reader) -> Process:
    user, console = field.section("user"), field.section("consoleSize")
    sets = field.section("capabilities")
    groups = user.values.get("additionalGids") or ()
    io, affinity = field.section("ioPriority"), field.section("execCPUAffinity")
    cwd = field.text("cwd")
    if not cwd.startswith("/"):
        raise MinirunError(f"config.json: process.cwd '{cwd}' is not an absolute path")
    return Process(
        args=field.texts("args"),
        cwd=cwd,
        env=field.texts("env"),
        terminal=field.flag("terminal"),
        console_rows=console.number("height", 0),
        console_columns=console.number("width", 0),
        uid=user.number("uid", 0),
        gid=user.number("gid", 0),
        additional_gids=tuple(int(gid) for gid in groups),
        umask=user.number("umask") if "umask" in user.values else None,
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


def _rlimit(field: _Reader) -> Rlimit:
    return Rlimit(field.text("type"), field.number("soft"), field.number("hard"))


def _mount(field: _Reader) -> MountSpec:
    return MountSpec(
        field.text("destination"),
        field.text("type", ""),
        field.text("source", ""),
        field.texts("options"),
        field.each("uidMappings", _id_mapping),
        field.each("gidMappings", _id_mapping),
    )


def _namespace(field: _Reader) -> Namespace:
    kind = field.text("type")
    if kind not in NAMESPACE_TYPES:
        raise MinirunError(f"config.json: {field.name}type '{kind}' is not a namespace type")
    return Namespace(kind, field.text("path", ""))


def _device(field: _Reader) -> Device:
    kind = field.text("type")
    if kind not in ("c", "b", "u", "p"):
        raise MinirunError(f"config.json: {field.name}type '{kind}' is not c, b, u or p")
    path = field.text("path").rstrip("/")
    if not path:
        raise MinirunError(f"config.json: {field.name}path names no file")
    return Device(
        path,
        kind,
        field.number("major", 0),
        field.number("minor", 0),
        field.number("fileMode", 0o666),
        field.number("uid", 0),
        field.number("gid", 0),
    )
