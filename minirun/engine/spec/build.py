"""From what is asked for to the OCI bundle's config.json, as Docker would write it.

`build` is the table of contents, in the order of the runtime specification (runtime-spec, config.md and
config-linux.md). It looks things up in the host's /dev and /sys only, and changes nothing.
"""

from __future__ import annotations

import os
import stat

from minirun.engine.spec import host_cgroups
from minirun.engine.spec.capabilities import container_capabilities, oci_capabilities
from minirun.engine.spec.environment import of_process
from minirun.errors import MinirunError
from minirun.kernel.mount import PROPAGATION
from minirun.model.oci_version import OCI_VERSION
from minirun.model.record import Record
from minirun.network import drivers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minirun.engine.spec.users import User
    from minirun.model.container import RunRequest, VolumeMount
    from minirun.model.image import ImageConfig
    from minirun.model.resources import Resources

INIT_ANNOTATION = "org.minirun.init"
"""Set to "true", it asks minirun's runtime to stay as PID 1 and reap orphans (`--init`)."""

_CPU_PERIOD = 100_000

# What of /proc and /sys tells about the host, or is a switch of the host's kernel, and has no namespace.
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

# Sockets below port 1024 and ping need no capability inside a network namespace of one's own: nobody else is there.
_OWN_NETWORK_SYSCTLS = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}

_WRITABLE_WHEN_READ_ONLY = frozenset({"/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"})
_OPPOSITE = {"noexec": "exec", "nosuid": "suid", "nodev": "dev", "rprivate": "rshared"}


class SpecInputs(Record):
    """What the engine has found out for one container, besides the request and the image.

    `hostname` is the value of HOSTNAME; `user` is the command's; `files` is the directory with its resolv.conf,
    hostname and hosts; `mounts` are all volumes, with `source` an absolute path of the host; `joined` maps namespace
    types to the paths of those it shares with another container ("network": "/proc/7/ns/net"); `available` are the
    capabilities that minirun has itself.
    """

    container_id: str
    hostname: str
    user: User
    files: str
    available: frozenset[str]
    mounts: tuple[VolumeMount, ...] = ()
    joined: dict[str, str] = {}


def build(request: RunRequest, image: ImageConfig, found: SpecInputs) -> dict[str, Any]:
    """Return config.json's object. Raises MinirunError where the request cannot be carried out."""
    granted = container_capabilities(request.cap_add, request.cap_drop, request.privileged, found.available)
    namespaces = _namespaces(request, found.joined)
    fresh = {entry["type"] for entry in namespaces if "path" not in entry}
    devices, rules = _devices(request)
    config: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "process": _process(request, image, found, granted),
        "root": {"path": "rootfs", "readonly": request.read_only},
        "mounts": _mounts(request, found),
        "linux": {
            "namespaces": namespaces,
            "cgroupsPath": f"/minirun/{found.container_id}",
            "resources": {"devices": rules} | _resources(request.resources),
            "rootfsPropagation": _root_propagation(found.mounts),
        },
    }
    if "uts" in fresh:
        config["hostname"] = found.hostname
        if request.domainname:
            config["domainname"] = request.domainname
    annotations = request.annotations | ({INIT_ANNOTATION: "true"} if request.init else {})
    if annotations:
        config["annotations"] = annotations
    linux = config["linux"]
    if devices:
        linux["devices"] = devices
    sysctls = (_OWN_NETWORK_SYSCTLS if "network" in fresh else {}) | request.sysctls
    if sysctls:
        linux["sysctl"] = sysctls
    if not request.privileged and not request.unmask_paths:
        linux["maskedPaths"] = [*MASKED_PATHS, *thermal_counters()]
        linux["readonlyPaths"] = list(READONLY_PATHS)
    seccomp = _seccomp(request, granted)
    if seccomp:
        linux["seccomp"] = seccomp
    return config


def thermal_counters(cpus: str = "/sys/devices/system/cpu") -> list[str]:
    """Return the directories that count how often each CPU has become too hot: by them containers hear of each other.

    Docker masks them since 28. Only Intel's CPUs have them, and not in every virtual machine.
    """
    names = sorted(name for name in os.listdir(cpus) if name[:3] == "cpu" and name[3:].isdigit())
    return [
        f"/sys/devices/system/cpu/{name}/thermal_throttle"
        for name in names
        if os.path.isdir(f"{cpus}/{name}/thermal_throttle")
    ]


# -- process -------------------------------------------------------------------------------------------------------


def arguments(request: RunRequest, image: ImageConfig) -> tuple[str, ...]:
    """Return what is executed: ENTRYPOINT and CMD, each replaced by what was asked for.

    Another entrypoint also takes the image's CMD away, which was meant for the image's own. Raises MinirunError when
    nothing is left.
    """
    if request.entrypoint is not None:
        args = request.entrypoint + (request.command or ())
    else:
        args = image.entrypoint + (image.cmd if request.command is None else request.command)
    if not args:
        raise MinirunError("No command specified", "Name one after the image: the image itself has none.")
    return args


def working_dir(request: RunRequest, image: ImageConfig) -> str:
    """Return the directory that the process starts in: asked for, else the image's, else the root."""
    return os.path.normpath(request.working_dir or f"/{image.working_dir}").replace("//", "/")


def _process(request: RunRequest, image: ImageConfig, found: SpecInputs, granted: frozenset[str]) -> dict[str, Any]:
    user = found.user
    return {
        "terminal": request.tty,
        # Its own group is among the supplementary ones too: a file with mode 0604 is denied to it by either way
        # (CVE-2022-36109).
        "user": {
            "uid": user.uid,
            "gid": user.gid,
            "additionalGids": list(dict.fromkeys((user.gid, *user.groups))),
        },
        "args": list(arguments(request, image)),
        "env": list(of_process(image.env, request.environment, found.hostname, user.home, tty=request.tty)),
        "cwd": working_dir(request, image),
        "capabilities": oci_capabilities(granted, user.uid),
        "rlimits": [
            {"type": f"RLIMIT_{limit.name.upper()}", "soft": limit.soft % 2**64, "hard": limit.hard % 2**64}
            for limit in request.ulimits
        ],
        "noNewPrivileges": request.no_new_privileges,
        "oomScoreAdj": request.oom_score_adj,
    }


def _seccomp(request: RunRequest, granted: frozenset[str]) -> dict[str, Any] | None:
    """Return the filter in OCI's form: the default one, the user's, or none at all."""
    from minirun.engine.spec.seccomp_default import default_profile
    from minirun.engine.spec.seccomp_profile import from_docker_profile
    from minirun.kernel.cpu import host_architecture

    if request.seccomp == "unconfined" or (request.privileged and not request.seccomp):
        return None
    if not request.seccomp:
        return default_profile(granted, host_architecture())
    return from_docker_profile(request.seccomp, granted, host_architecture(), os.uname().release)


# -- mounts --------------------------------------------------------------------------------------------------------


def _mounts(request: RunRequest, found: SpecInputs) -> list[dict[str, Any]]:
    """Return the list of mounts in the order in which they are made: what is deeper comes later."""
    volumes = [_volume(mount) for mount in found.mounts]
    taken = {mount["destination"] for mount in volumes}
    files = [
        _bind(f"{found.files}/{name}", f"/etc/{name}", "ro" if request.read_only else "")
        for name in ("resolv.conf", "hostname", "hosts")
        if f"/etc/{name}" not in taken
    ]
    system = [
        mount
        for mount in _system_mounts(request)
        if mount["destination"] not in taken and not ("/dev" in taken and mount["destination"].startswith("/dev/"))
    ]
    if request.read_only:
        for mount in system:
            if mount["destination"] not in _WRITABLE_WHEN_READ_ONLY and "ro" not in mount["options"]:
                mount["options"].append("ro")
    return system + sorted(volumes + files, key=lambda mount: mount["destination"].count("/"))


def _system_mounts(request: RunRequest) -> list[dict[str, Any]]:
    """Return the file systems that Linux programs expect (config-linux.md, "Default Filesystems")."""
    quiet = ["nosuid", "noexec", "nodev"]
    switches = [*quiet, "rw" if request.privileged else "ro"]
    mounts = [
        _mount("/proc", "proc", "proc", quiet),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount(
            "/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
        ),
        _mount("/sys", "sysfs", "sysfs", switches),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", switches),
        _mount("/dev/mqueue", "mqueue", "mqueue", quiet),
    ]
    if request.ipc_mode == "host":
        mounts.append(_bind("/dev/shm", "/dev/shm"))
    elif request.ipc_mode != "none":
        mounts.append(_mount("/dev/shm", "tmpfs", "shm", [*quiet, "mode=1777", f"size={request.shm_size}"]))
    return mounts


def _volume(mount: VolumeMount) -> dict[str, Any]:
    if mount.kind == "tmpfs":
        # Later words win, but contradictions would confuse readers of the file.
        defaults = [word for word in ("noexec", "nosuid", "nodev", "rprivate") if _OPPOSITE[word] not in mount.options]
        return _mount(mount.target, "tmpfs", "tmpfs", [*defaults, *mount.options])
    # With "rro" the mounts below it are read-only, too: "ro" would leave them writable. So it is meant for the host's
    # hierarchies of cgroups, in which systemd makes its own (`-v /sys/fs/cgroup:/sys/fs/cgroup:ro`).
    alone = "bind" in mount.options or "rw-below" in mount.options or host_cgroups.are_shown([mount])
    read_only = ("ro" if alone else "rro") if mount.read_only else ""
    return _bind(mount.source, mount.target, read_only, mount.options)


def _bind(source: str, target: str, read_only: str = "", options: tuple[str, ...] = ()) -> dict[str, Any]:
    recursion = "bind" if "bind" in options else "rbind"
    propagation = next((word for word in options if word in PROPAGATION), "rprivate")
    return _mount(target, "bind", source, [word for word in (recursion, read_only, propagation) if word])


def _root_propagation(mounts: tuple[VolumeMount, ...]) -> str:
    """Return the propagation of all mounts that do not ask for their own: private, unless one is to follow the host's.

    A mount can only be a slave of the host's where the root has not cut all ties to it (mount_namespaces(7)).
    """
    words = {word for mount in mounts for word in mount.options}
    if words & {"shared", "rshared"}:
        return "shared"
    return "rslave" if words & {"slave", "rslave"} else "rprivate"


def _mount(destination: str, kind: str, source: str, options: list[str]) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


# -- linux ---------------------------------------------------------------------------------------------------------


def _namespaces(request: RunRequest, joined: dict[str, str]) -> list[dict[str, str]]:
    """Return a fresh namespace of each kind, another container's where that is joined, none where it is the host's."""
    modes = {
        "mount": "",
        "network": "host" if drivers.find(request.network).shares_host else "",
        "uts": request.uts_mode,
        "pid": request.pid_mode,
        "ipc": request.ipc_mode,
        "cgroup": request.cgroupns_mode,
    }
    namespaces = []
    for kind, mode in modes.items():
        if kind in joined:
            namespaces.append({"type": kind, "path": joined[kind]})
        elif mode != "host":
            namespaces.append({"type": kind})
    return namespaces


def _resources(resources: Resources) -> dict[str, Any]:
    """Return config-linux.md's "Control groups", with only what was asked for."""
    memory = {
        "limit": resources.memory,
        "swap": resources.memory_swap,
        "reservation": resources.memory_reservation,
    }
    cpu = {
        "shares": resources.cpu_shares,
        "quota": resources.cpu_quota,
        "period": resources.cpu_period,
        "cpus": resources.cpuset_cpus or None,
        "mems": resources.cpuset_mems or None,
    }
    if resources.nano_cpus:
        cpu |= {"period": _CPU_PERIOD, "quota": resources.nano_cpus * _CPU_PERIOD // 10**9}
    pids = {"limit": resources.pids_limit if resources.pids_limit != -1 else None}
    sections: dict[str, dict[str, Any]] = {"memory": memory, "cpu": cpu, "pids": pids}
    given = {name: {k: v for k, v in values.items() if v is not None} for name, values in sections.items()}
    return {name: values for name, values in given.items() if values}


def _devices(request: RunRequest) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the device nodes beside the default ones, and the rules of the device cgroup."""
    if request.privileged:
        nodes = [device for path in host_devices("/dev") if (device := _device(path, path))]
        return nodes, [{"allow": True, "access": "rwm"}]
    rules: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    nodes = []
    for text in request.devices:
        host, container, access = text.split(":")
        for path in _asked_devices(host):
            device = _device(path, container + path.removeprefix(host))
            if device is None:
                raise MinirunError(f"cannot give the container {path}: it is not a device")
            nodes.append(device)
            rules.append(
                {"allow": True} | {key: device[key] for key in ("type", "major", "minor")} | {"access": access}
            )
    return nodes, rules + [_rule(text) for text in request.device_cgroup_rules]


def _rule(text: str) -> dict[str, Any]:
    """Read "c 1:3 rwm"; * is any number."""
    kind, numbers, access = text.split()
    major, minor = numbers.split(":")
    rule: dict[str, Any] = {"allow": True, "type": kind}
    if major != "*":
        rule["major"] = int(major)
    if minor != "*":
        rule["minor"] = int(minor)
    return rule | {"access": access}


def _asked_devices(path: str) -> list[str]:
    return host_devices(path) if os.path.isdir(path) else [path]


def host_devices(directory: str) -> list[str]:
    """Return the paths of the device nodes below `directory`, without those that belong to a terminal or a mount."""
    found = []
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in ("pts", "shm", "fd", "mqueue"):
                found += host_devices(entry.path)
        elif entry.name != "console" and not entry.is_symlink():
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
                found.append(entry.path)
    return found


def _device(host: str, container: str) -> dict[str, Any] | None:
    """Return the OCI form of a device node of the host under its path in the container; None if it is no device."""
    try:
        status = os.stat(host)
    except OSError as error:
        raise MinirunError(f"cannot give the container {host}: {error.strerror}") from error
    kinds = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}
    kind = kinds.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        return None
    return {
        "path": container,
        "type": kind,
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }
