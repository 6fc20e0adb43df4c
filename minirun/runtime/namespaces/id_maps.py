"""Mappings of the users and groups of a user namespace (user_namespaces(7), "User and group ID mappings")."""

from __future__ import annotations

import os

from minirun.errors import MinirunError, warn
from minirun.kernel.files import read, write
from minirun.kernel.trace import step
from minirun.model.spec import IdMapping, on_host
from minirun.runtime.namespaces.types import is_fresh

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.spec import Spec


def with_mappings(spec: Spec) -> Spec:
    """Return the spec with the mappings of its new user namespace; missing ones are filled in.

    By default the container's root stands for the caller: the kernel lets everybody map that one id.
    """
    own = {"uid_mappings": os.geteuid(), "gid_mappings": os.getegid()}
    missing = {name: (IdMapping(0, number, 1),) for name, number in own.items() if not getattr(spec, name)}
    for name, (mapping,) in missing.items():
        field = name.replace("_m", "M")
        told = f"config.json: linux.{field} is missing; the container's 0 is the host's {mapping.host}, and no other is"
        warn(told)
    return spec.replace(**missing)


def check(spec: Spec) -> None:
    """Refuse mappings without a user namespace, and a user that they lack. Raises MinirunError that names the field."""
    mappings = {"uidMappings": spec.uid_mappings, "gidMappings": spec.gid_mappings}
    for field, mapping in mappings.items():
        if mapping and not spec.has_namespace("user"):
            raise MinirunError(f"config.json: linux.{field} needs a user namespace")
    if spec.process and is_fresh(spec, "user"):
        user = spec.process
        for field, number, mapping in (("uid", user.uid, spec.uid_mappings), ("gid", user.gid, spec.gid_mappings)):
            if on_host(number, mapping) is None:
                raise MinirunError(f"config.json: process.user.{field} {number} is not mapped in linux.{field}Mappings")


def map_ids(pid: int, uids: tuple[IdMapping, ...], gids: tuple[IdMapping, ...]) -> None:
    """Write what the ids of a new user namespace stand for; `pid` is a process in it. Raises MinirunError."""
    with step(
        "say whom the container's users stand for", "namespaces", "Its root is nobody special outside.", _MAP_HINT
    ):
        try:
            write(f"/proc/{pid}/gid_map", _map_text(gids))
        except PermissionError:
            # A user without rights over groups may map only their own one, and only if nobody inside can give up a
            # group that a file's mode keeps out (user_namespaces(7), "The /proc/pid/setgroups file").
            write(f"/proc/{pid}/setgroups", "deny")
            write(f"/proc/{pid}/gid_map", _map_text(gids))
        write(f"/proc/{pid}/uid_map", _map_text(uids))


_MAP_HINT = "Without root only one's own user and group can be mapped, one to one."


def _map_text(mapping: tuple[IdMapping, ...]) -> str:
    return "".join(f"{part.container} {part.host} {part.size}\n" for part in mapping)


def what_ids_allow(pid: int) -> dict[str, bool]:
    """Say what a process in a user namespace can do about its ids: `has_root` and `keep_groups` for `become_root`.

    Asked by the parent, from the host's /proc: the one inside a container may be a fake.
    """
    has_root = all(any(part.container == 0 for part in mapping_of(pid, name)) for name in ("uid_map", "gid_map"))
    return {"has_root": has_root, "keep_groups": read(f"/proc/{pid}/setgroups").strip() == "deny"}


def mapping_of(pid: int | str, name: str) -> tuple[IdMapping, ...]:
    """Return what the ids of a process's user namespace are here; `name` is "uid_map" or "gid_map". Raises OSError."""
    return tuple(IdMapping(*map(int, line.split())) for line in read(f"/proc/{pid}/{name}").splitlines())
