"""Which namespaces a container gets: fresh ones by clone flags, others' by path."""

from __future__ import annotations

import os

from minirun.kernel.process import NAMESPACE_FLAGS, setns, unshare
from minirun.kernel.trace import step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.spec import Spec

WHY = {
    "pid": "Its first process becomes PID 1 and sees no process of the host.",
    "mount": "What it mounts and unmounts stays its own.",
    "uts": "It can have its own host name.",
    "ipc": "System V IPC and POSIX message queues of the host are out of reach.",
    "network": "It starts with no interface but a loopback of its own.",
    "cgroup": "It sees its own cgroup as the root of the hierarchy.",
    "user": "Its users are others than the host's.",
    "time": "Its clocks can have offsets.",
}


def clone_flags(spec: Spec) -> int:
    """Return the flags of the namespaces that clone3 makes.

    Not the cgroup namespace: its root is the cgroup that the caller is in at that moment, and during clone3 that is
    still the parent's. The child makes it itself, from inside its cgroup (cgroup_namespaces(7)).
    """
    fresh = (namespace.type for namespace in spec.namespaces if not namespace.path)
    return sum(NAMESPACE_FLAGS[kind] for kind in fresh if kind not in ("cgroup", "time"))


def join_before_clone(spec: Spec) -> None:
    """Enter the PID namespace at a path: setns changes where *children* are put, so the parent must do it."""
    for namespace in spec.namespaces:
        if namespace.path and namespace.type == "pid":
            _join(namespace.type, namespace.path)


def return_from_joined(spec: Spec) -> None:
    """Let further children of the parent be made in its own PID namespace again."""
    if any(namespace.path and namespace.type == "pid" for namespace in spec.namespaces):
        _join("pid", "/proc/self/ns/pid")


def join_in_child(spec: Spec) -> None:
    """Enter the other namespaces given by path."""
    for namespace in spec.namespaces:
        if namespace.path and namespace.type != "pid":
            _join(namespace.type, namespace.path)


def _join(kind: str, path: str) -> None:
    with step(f"join the {kind} namespace of {path}", "namespaces", "It is shared with another container or the host."):
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(file, NAMESPACE_FLAGS[kind], path)
        finally:
            os.close(file)


def unshare_cgroup(spec: Spec) -> None:
    """Make the cgroup namespace, now that this process is in its final cgroup."""
    if any(namespace.type == "cgroup" and not namespace.path for namespace in spec.namespaces):
        with step("make a cgroup namespace", "namespaces", WHY["cgroup"]):
            unshare(NAMESPACE_FLAGS["cgroup"])


def join_container(pidfd: int, flags: int) -> None:
    """Enter the namespaces in `flags` of the process behind `pidfd`, all or none (setns(2), since Linux 5.8)."""
    with step("join the container's namespaces", "namespaces", "The command sees what the container's processes see."):
        setns(pidfd, flags)
