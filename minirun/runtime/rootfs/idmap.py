"""Idmapped mounts: who appears to own the files of a bind mount (mount_setattr(2), "ID-mapped mounts").

The mapping is that of the mount's own uidMappings and gidMappings (config.md, "Mounts"), or that of its option
`idmap=uids=0-1000-10#10-5000-1;gids=...`, which Podman passes on, or else that of the container's user namespace.
"""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.model.spec import IdMapping, on_host
from minirun.runtime.rootfs.mount_options import IDMAP_OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.spec import MountSpec, Spec


def mappings(entry: MountSpec, spec: Spec) -> tuple[tuple[IdMapping, ...], tuple[IdMapping, ...]]:
    """Return what users and groups on disk stand for, of which one may be empty; both are with the container's mapping.

    Raises MinirunError for an option of another form.
    """
    found = {"uids": entry.uid_mappings, "gids": entry.gid_mappings}
    containers = {"uids": spec.uid_mappings, "gids": spec.gid_mappings}
    for word in entry.options:
        name, _, value = word.partition("=")
        if name not in IDMAP_OPTIONS or not value:
            continue
        for part in value.split(";"):
            kind, _, ranges = part.partition("=")
            if kind not in found or not ranges:
                raise MinirunError(f"the option '{word}' is not {name}=uids=...;gids=...")
            found[kind] = tuple(_range(text, containers[kind], word) for text in ranges.split("#"))
    return found["uids"], found["gids"]


def _range(text: str, container: tuple[IdMapping, ...], word: str) -> IdMapping:
    """Read "0-1000-10": ids from 0 on of the disk, ids from 1000 on of the host, ten of them.

    With "@" before it the second is one of the container's user namespace.
    """
    try:
        disk, host, size = map(int, text.removeprefix("@").split("-"))
    except ValueError:
        raise MinirunError(f"the option '{word}' has the range '{text}', which is not DISK-HOST-SIZE") from None
    if text.startswith("@"):
        outside = on_host(host, container)
        if outside is None:
            raise MinirunError(f"the option '{word}' has the range '{text}', but {host} is not mapped in the container")
        host = outside
    return IdMapping(disk, host, size)
