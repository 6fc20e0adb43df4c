"""Kernel parameters of a container (linux.sysctl): those that belong to a namespace; all others are the host's.

Sources: sysctl(5), ipc_namespaces(7), network_namespaces(7).
"""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.kernel.files import write
from minirun.kernel.trace import step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.spec import Spec

_IPC_PARAMETERS = frozenset(
    f"kernel.{name}" for name in "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced".split()
)
_OTHER_SEPARATOR = str.maketrans("./", "/.")


def check(spec: Spec) -> None:
    """Refuse parameters that are the host's, also for want of a namespace. Raises MinirunError that names the field."""
    for name in spec.sysctl:
        _path(name)
        _check(_with_dots(name), spec)


def set_sysctls(sysctls: dict[str, str]) -> None:
    """Set kernel parameters of the container's own namespaces, through the host's /proc, which no image can fake."""
    for name, value in sysctls.items():
        with step(f"set the kernel parameter {name}", "namespaces", "It belongs to a namespace of the container."):
            write(_path(name), value)


def _check(name: str, spec: Spec) -> None:
    needed = ""
    if name.startswith("net."):
        needed = "network"
    elif name in _IPC_PARAMETERS or name.startswith("fs.mqueue."):
        needed = "ipc"
    elif name == "kernel.domainname":
        needed = "uts"
    elif name == "kernel.hostname":
        raise MinirunError(f"config.json: linux.sysctl: {name} is set by the field hostname")
    else:
        raise MinirunError(f"config.json: linux.sysctl: {name} is not in a separate kernel namespace")
    if not spec.has_namespace(needed):
        raise MinirunError(f"config.json: linux.sysctl: {name} needs a namespace of type {needed}")


def _with_dots(name: str) -> str:
    """Return a kernel parameter's name with dots between its parts.

    Like sysctl(8), the specification allows slashes, too; a dot then is part of a name, as that of an interface.
    """
    slash, dot = name.find("/"), name.find(".")
    if slash >= 0 and (dot < 0 or slash < dot):
        return name.translate(_OTHER_SEPARATOR)
    return name


def _path(name: str) -> str:
    """Return the file of a kernel parameter. Raises MinirunError for a name that would lead out of its directory."""
    path = _with_dots(name).translate(_OTHER_SEPARATOR)
    if not {"", ".", ".."}.isdisjoint(path.split("/")):
        where = f"config.json: linux.sysctl: '{name}' contains an invalid path"
        raise MinirunError(f"{where}: it is not the name of a kernel parameter")
    return f"/proc/sys/{path}"
