"""`version` and `info`: about minirun itself and the machine it runs on."""

from __future__ import annotations

import os
import platform
import re

from minirun import __version__
from minirun.cli.grammar import Verb, text
from minirun.errors import MinirunError
from minirun.model.oci_version import OCI_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minirun.cli.call import Call
    from minirun.model.layout import Layout

_V1_NAMES = {"cpu": "cpu", "cpuset": "cpuset", "io": "blkio", "memory": "memory", "pids": "pids"}
"""The controllers that limit containers, by their name in cgroup v2."""
_LABELS = {
    "NCPU": "CPUs",
    "MemTotal": "Total Memory",
    "RootDir": "Root Directory",
    "StateDir": "State Directory",
    "Driver": "Storage Driver",
}
"""What is not simply its JSON name with spaces."""


def version(call: Call) -> None:
    """Show the versions of minirun and of what it stands on."""
    facts: dict[str, Any] = {
        "Version": __version__,
        "OCIVersion": OCI_VERSION,
        "PythonVersion": platform.python_version(),
        "KernelVersion": os.uname().release,
        "Os": "linux",
        "Arch": os.uname().machine,
    }
    if template := call.text("format"):
        _print_formatted(template, facts)
        return
    print("minirun")
    for name, value in facts.items():
        print(f" {name + ':':<17}{value}")


def info(call: Call) -> None:
    """Show what this machine offers, kernel, cgroups, storage and security, and what there is."""
    facts = _facts(call.layout())
    if template := call.text("format"):
        _print_formatted(template, facts)
        return
    from minirun.cli.output.words import binary_size

    facts["MemTotal"] = binary_size(facts["MemTotal"])
    for name, value in facts.items():
        label = _LABELS.get(name) or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
        if isinstance(value, dict):
            print(f"{label}:")
            for inner, text in value.items():
                print(f"  {inner}: {text}")
        else:
            print(f"{label}: {' '.join(value) or 'none' if isinstance(value, list) else value}")


def _print_formatted(template: str, facts: dict[str, Any]) -> None:
    from minirun.cli.output.template import render

    print(render("{{json .}}" if template == "json" else template, facts))


def _facts(place: Layout) -> dict[str, Any]:
    from minirun.kernel.privilege import available_capabilities

    return {
        "ServerVersion": __version__,
        "KernelVersion": os.uname().release,
        "OperatingSystem": _operating_system(),
        "Architecture": os.uname().machine,
        "NCPU": len(os.sched_getaffinity(0)),
        "MemTotal": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "Name": os.uname().nodename,
        "PythonVersion": platform.python_version(),
        "RootDir": place.root,
        "StateDir": place.state,
        "Driver": "overlayfs",
        "BackingFilesystem": _file_system_of(place.root),
        "LoggingDriver": "json-file",
        **_containers(place),
        **_cgroups(),
        "SecurityOptions": ["seccomp"] if os.path.exists("/proc/sys/kernel/seccomp") else [],
        "Rights": _rights(),
        "MissingCapabilities": _missing_capabilities(available_capabilities()),
    }


def _containers(place: Layout) -> dict[str, Any]:
    """Count containers and images; only root may look into the store."""
    if os.geteuid() != 0:
        return {}
    from minirun.cli.output.ps import containers
    from minirun.storage.images import all_images

    states = [status.state for _, status in containers(place)]
    return {
        "Containers": len(states),
        "ContainersRunning": states.count("running"),
        "ContainersPaused": states.count("paused"),
        "ContainersStopped": len(states) - states.count("running") - states.count("paused"),
        "Images": len(all_images(place)),
    }


def _cgroups() -> dict[str, Any]:
    """Say which controllers can limit a container, and where the others are bound."""
    from minirun.runtime.cgroup.hierarchy import find_hierarchy

    try:
        hierarchy = find_hierarchy()
    except MinirunError as error:
        return {"CgroupVersion": "1", "CgroupProblem": error.message}
    bound = hierarchy.bound_to_v1
    missing = {
        name: f"bound to the v1 hierarchy at {bound[v1_name]}" if v1_name in bound else "not in this kernel"
        for name, v1_name in _V1_NAMES.items()
        if name not in hierarchy.controllers
    }
    layout = {"CgroupMode": "unified", "CgroupLimits": "all"}
    if bound:
        layout["CgroupMode"] = "hybrid"
        layout["CgroupLimits"] = f"minirun run: {_listed(hierarchy.controllers)}; minirun-oci: those of v1, too"
    elif missing:
        layout["CgroupLimits"] = _listed(hierarchy.controllers)
    return {
        "CgroupVersion": "2",
        **layout,
        "CgroupMountPoint": hierarchy.mount_point,
        "CgroupControllers": [name for name in _V1_NAMES if name in hierarchy.controllers],
        **({"CgroupControllersMissing": missing} if missing else {}),
    }


def _listed(controllers: frozenset[str]) -> str:
    return ", ".join(name for name in _V1_NAMES if name in controllers) or "none"


def _rights() -> str:
    """Say what the caller may do here."""
    from minirun.runtime.namespaces.types import is_root_of_machine

    if os.geteuid() != 0:
        return f"those of user {os.geteuid()}: containers and images are for root, try sudo"
    return "root" if is_root_of_machine() else "root of a user namespace, not of the machine"


def _missing_capabilities(available: frozenset[str]) -> list[str]:
    """Return what root itself lacks here and therefore no container can have, even with --privileged."""
    from minirun.model.capabilities import NAMES

    return [name for name in NAMES if name not in available] if os.geteuid() == 0 else []


def _operating_system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"


def _file_system_of(path: str) -> str:
    """Return the type of the file system that holds `path` or its nearest parent, from /proc/self/mountinfo."""
    from minirun.kernel.mountinfo import mounted

    while not os.path.exists(path):
        path = os.path.dirname(path)
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    return next((mount.fstype for mount in mounted() if mount.device == number), "unknown")


_FORMAT = text("-f/--format", "A Go template, or json.")
VERBS = {
    "version": Verb(version, (_FORMAT,)),
    "info": Verb(info, (_FORMAT,), summary="Show what this machine offers, and what there is"),
}
