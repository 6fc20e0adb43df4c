"""Which namespaces a container gets: fresh ones by clone flags, others' by path."""

from __future__ import annotations

import os

from minirun.errors import MinirunError
from minirun.kernel.files import read, write
from minirun.kernel.process import NAMESPACE_FILES, NAMESPACE_FLAGS, set_user, setns, unshare
from minirun.kernel.trace import step
from minirun.model.spec import NAMESPACE_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

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


def check_namespaces(spec: Spec) -> None:
    """Refuse namespaces, and what needs them, that contradict each other. Raises MinirunError that names the field."""
    kinds = [namespace.type for namespace in spec.namespaces]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise MinirunError(f"config.json: linux.namespaces has {kind} twice")
        if not os.path.exists(f"/proc/self/ns/{NAMESPACE_FILES[kind]}"):
            raise MinirunError(f"config.json: linux.namespaces: this kernel has no {kind} namespaces")
    for name, value in (("hostname", spec.hostname), ("domainname", spec.domainname)):
        if value and "uts" not in kinds:
            raise MinirunError(f"config.json: {name} needs a UTS namespace", "Without one it would rename the host.")
    if spec.time_offsets and not is_fresh(spec, "time"):
        raise MinirunError("config.json: linux.timeOffsets needs a time namespace without a path")


def is_fresh(spec: Spec, kind: str) -> bool:
    """Say whether the container gets a new namespace of this type."""
    return any(namespace.type == kind and not namespace.path for namespace in spec.namespaces)


def path_of(spec: Spec, kind: str) -> str:
    """Return the path of the namespace of this type that the container joins, "" if there is none."""
    return next((namespace.path for namespace in spec.namespaces if namespace.type == kind), "")


def clone_flags(spec: Spec) -> int:
    """Return the flags of the namespaces that the clone3 of the container's first process makes.

    Not the cgroup namespace: its root is the cgroup that the caller is in at that moment, and during clone3 that is
    still the parent's. The child makes it itself, from inside its cgroup (cgroup_namespaces(7)).
    """
    fresh = (namespace.type for namespace in spec.namespaces if not namespace.path)
    return sum(NAMESPACE_FLAGS[kind] for kind in fresh if kind not in ("cgroup", "time"))


def in_user_namespace() -> bool:
    """Say whether this process is in another user namespace than the machine's first (user_namespaces(7))."""
    return read("/proc/self/uid_map").split() != ["0", "0", "4294967295"]


def is_root_of_machine() -> bool:
    """Say whether this user is root, and not of a user namespace only."""
    return os.geteuid() == 0 and not in_user_namespace()


def need_intermediate(spec: Spec) -> bool:
    """Say whether something must be entered before the clone, which the parent could not leave again."""
    joined = _joined(spec)
    return (
        is_fresh(spec, "time")
        or "user" in joined
        or bool(joined and spec.has_namespace("user"))  # with the rights that a new user namespace takes away
    )


def _joined(spec: Spec) -> dict[str, str]:
    """Return the paths of the namespaces to enter, by their types: all but the PID namespace, see join.py."""
    paths = {namespace.type: namespace.path for namespace in spec.namespaces if namespace.path}
    return {kind: paths[kind] for kind in NAMESPACE_TYPES if kind in paths and kind != "pid"}


def enter_before_clone(spec: Spec) -> int:
    """In the intermediate process: enter everything given by path, make the time namespace.

    Returns the flags of what the clone has yet to make.
    """
    flags = clone_flags(spec)
    _enter({kind: _joiner(kind, path) for kind, path in _joined(spec).items()})
    if is_fresh(spec, "time"):
        first = flags & NAMESPACE_FLAGS["user"]  # which is to own the time namespace
        flags &= ~first
        with step("make a time namespace", "namespaces", WHY["time"]):
            unshare(NAMESPACE_FLAGS["time"] | first)
            for clock, (seconds, nanoseconds) in spec.time_offsets.items():
                # Until the first process is in it, which this one is not: only its children are (time_namespaces(7)).
                write("/proc/self/timens_offsets", f"{clock} {seconds} {nanoseconds}")
    return flags


def _enter(joins: dict[str, Callable[[], None]]) -> None:
    """Enter namespaces: first those of the host, then the user namespace, then those that it gives the rights over.

    The mount namespace comes last of its group: afterwards paths mean another tree.
    """
    in_order = sorted(joins, key=lambda kind: kind == "mount")
    later = []
    for kind in in_order:
        try:
            if kind != "user":
                joins[kind]()
        except MinirunError as error:
            if "user" not in joins or not isinstance(error.__cause__, PermissionError):
                raise
            later.append(kind)
    for kind in ("user", *later):
        if kind in joins:
            joins[kind]()


def join_in_child(spec: Spec) -> None:
    """Enter the namespaces given by path, unless the intermediate process has done it."""
    if not need_intermediate(spec):
        _enter({kind: _joiner(kind, path) for kind, path in _joined(spec).items()})


def _joiner(kind: str, path: str) -> Callable[[], None]:
    return lambda: _join(kind, path)


def _join(kind: str, path: str) -> None:
    with step(f"join the {kind} namespace of {path}", "namespaces", "It is shared with another container or the host."):
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if kind == "user" and os.path.samestat(os.fstat(file), os.stat("/proc/self/ns/user")):
                return  # already there; the kernel refuses to enter one's own again
            setns(file, NAMESPACE_FLAGS[kind], path)
        finally:
            os.close(file)


def pid_inside(pid: int) -> int:
    """Return the number of a process in its own PID namespace."""
    numbers = next(line for line in read(f"/proc/{pid}/status").splitlines() if line.startswith("NSpid:"))
    return int(numbers.split()[-1])


def become_namespace_root(*, has_root: bool, keep_groups: bool) -> None:
    """Become the root of the user namespace, so that what this process makes belongs to the container's users.

    Until then its ids are the caller's, which have no meaning inside: the kernel makes no file for such a user
    (EOVERFLOW).
    """
    if has_root:
        with step("become root of the user namespace", "namespaces", "What is made from here on belongs to its root."):
            set_user(0, 0, clear_groups=not keep_groups)


def unshare_cgroup(spec: Spec) -> None:
    """Make the cgroup namespace, now that this process is in its final cgroup."""
    if any(namespace.type == "cgroup" and not namespace.path for namespace in spec.namespaces):
        with step("make a cgroup namespace", "namespaces", WHY["cgroup"]):
            unshare(NAMESPACE_FLAGS["cgroup"])


def other_than_ours(pid: int) -> int:
    """Return the flags of the namespaces in which the process differs from this one: setns refuses one's own user's."""
    flags = 0
    for kind, name in NAMESPACE_FILES.items():
        try:
            if os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}"):
                flags |= NAMESPACE_FLAGS[kind]
        except FileNotFoundError:
            pass  # a kernel without this namespace
    return flags


def join_container(pidfd: int, flags: int, pid_namespace: int = -1) -> None:
    """Enter the namespaces in `flags` of the process behind `pidfd` (setns(2), by pidfd since Linux 5.8).

    With `pid_namespace`, the PID namespace is the one behind that descriptor.
    """
    with step("join the container's namespaces", "namespaces", "The command sees what the container's processes see."):
        if flags and not flags & NAMESPACE_FLAGS["user"] and pid_namespace < 0:
            setns(pidfd, flags)  # all or none
            return
        joins = {kind: _container_joiner(pidfd, kind) for kind, flag in NAMESPACE_FLAGS.items() if flags & flag}
        if pid_namespace >= 0:
            joins["pid"] = _container_joiner(pid_namespace, "pid")
        _enter(joins)


def _container_joiner(pidfd: int, kind: str) -> Callable[[], None]:
    def join() -> None:
        with step(f"join the container's {kind} namespace", "namespaces"):
            setns(pidfd, NAMESPACE_FLAGS[kind])

    return join
