"""All that the flags of one command ask for to be mounted, and whether it goes together."""

from __future__ import annotations

import os

from minirun.engine.request.mount_flags import LABEL, parse_tmpfs, parse_volume
from minirun.engine.volume.checks import check_driver
from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from minirun.model.container import VolumeMount


def from_flags(
    volumes: tuple[str, ...], mounts: tuple[str, ...], tmpfs: tuple[str, ...], driver: str
) -> tuple[VolumeMount, ...]:
    """Read all of `-v`, `--mount` and `--tmpfs`; `driver` is --volume-driver, "" without one. Raises MinirunError."""
    check_driver("volumes", driver)
    found = [parse_volume(text, os.getcwd()) for text in volumes]
    if mounts:
        from minirun.engine.request.mount_fields import parse_mount

        found += [parse_mount(text) for text in mounts]
    found += [parse_tmpfs(text) for text in tmpfs]
    check_targets(found)
    return tuple(found)


def check_targets(mounts: Iterable[VolumeMount]) -> None:
    """Refuse two mounts on one place."""
    seen = set()
    for mount in mounts:
        if mount.target in seen:
            raise MinirunError(f"Duplicate mount point: {mount.target}")
        seen.add(mount.target)


def checked_volumes_from(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return what `--volumes-from` names, "CONTAINER[:MODE]". Raises MinirunError."""
    for text in texts:
        name, _, mode = text.partition(":")
        if not name:
            raise MinirunError(f"malformed volumes-from specification: '{text}'", "Write CONTAINER or CONTAINER:ro.")
        if mode not in ("", "ro", "rw", "z", "Z"):
            raise MinirunError(f"invalid mode: {mode}", "Use ro or rw.")
    return texts


def warnings(mounts: tuple[VolumeMount, ...]) -> list[str]:
    """Return a sentence for each option that has no effect on this machine."""
    asking = [mount.target for mount in mounts if not LABEL.isdisjoint(mount.mode.split(","))]
    if not asking or os.path.exists("/sys/fs/selinux/enforce"):
        return []
    return [f"z and Z are ignored for {', '.join(asking)}: this kernel has no SELinux, so there are no labels to set"]
