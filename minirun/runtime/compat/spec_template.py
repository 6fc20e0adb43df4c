"""`spec`: a config.json to start from, with the structure that runc's users edit with jq."""

from __future__ import annotations

import json
import os

from minirun.errors import MinirunError
from minirun.kernel.hostfiles import write_new
from minirun.model.oci_version import OCI_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
_MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
)
_READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def write(bundle: str, *, rootless: bool) -> None:
    """Write config.json into a bundle. Raises MinirunError if there is one."""
    path = os.path.join(bundle, "config.json")
    try:
        write_new(path, json.dumps(document(rootless=rootless), indent="\t") + "\n")
    except FileExistsError:
        raise MinirunError(f"File {path} exists. Remove it first") from None


def document(*, rootless: bool) -> dict[str, Any]:
    """Return the template."""
    # On a hybrid host a cgroup namespace would hide only part of the hierarchies, so runc's users add it themselves.
    unified = ["cgroup"] if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else []
    kinds = ["pid", "ipc", "uts", "mount", *(["user"] if rootless else ["network"]), *unified]
    config: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {name: list(_CAPABILITIES) for name in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "minirun",
        "mounts": _mounts(rootless=rootless),
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in kinds],
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READONLY),
        },
    }
    if rootless:
        for name, host in (("uidMappings", os.geteuid()), ("gidMappings", os.getegid())):
            config["linux"][name] = [{"containerID": 0, "hostID": host, "size": 1}]
        del config["linux"]["resources"]
    return config


def _mounts(*, rootless: bool) -> list[dict[str, Any]]:
    quiet = ["nosuid", "noexec", "nodev"]
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    # Without root in the network namespace a sysfs of one's own cannot be mounted; the host's is shown instead.
    sys = ("none", "/sys", ["rbind", *quiet, "ro"]) if rootless else ("sysfs", "sysfs", [*quiet, "ro"])
    rows: list[tuple[str, str, str, list[str]]] = [
        ("/proc", "proc", "proc", []),
        ("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ("/dev/pts", "devpts", "devpts", pts if rootless else [*pts, "gid=5"]),
        ("/dev/shm", "tmpfs", "shm", [*quiet, "mode=1777", "size=65536k"]),
        ("/dev/mqueue", "mqueue", "mqueue", quiet),
        ("/sys", *sys),
        ("/sys/fs/cgroup", "cgroup", "cgroup", [*quiet, "relatime", "ro"]),
    ]
    mounts = []
    for destination, kind, source, options in rows:
        mount: dict[str, Any] = {"destination": destination, "type": kind, "source": source}
        mounts.append(mount | ({"options": options} if options else {}))
    return mounts
