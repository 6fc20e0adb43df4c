"""`update`: other limits for a cgroup that exists, all of them or none."""

from __future__ import annotations

import os

from minirun.errors import MinirunError
from minirun.kernel.files import write
from minirun.runtime.cgroup import files, v2
from minirun.runtime.cgroup.hierarchy import find_hierarchy
from minirun.runtime.cgroup.manager import translate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from minirun.runtime.cgroup.limits import Setting


def update(directory: str, resources: dict[str, Any], unit: str = "", directories_v1: Mapping[str, str] = {}) -> None:
    """Change the limits of a cgroup that exists; what `resources` does not name stays. Raises MinirunError.

    If one cannot be changed, those before it get their old values back. `unit` is systemd's scope, `directories_v1` are
    those in the hierarchies of v1.
    """
    hierarchy = find_hierarchy()
    settings, settings_v1 = translate(hierarchy, directory, unit, directories_v1, resources, change=True)
    needed = {setting.controller for setting in settings} - {""}
    path = directory.removeprefix(hierarchy.mount_point).strip("/")
    v2.make_all(hierarchy, path.split("/"), needed)
    parts = [(directory, settings), *settings_v1]
    before = [
        (place, setting.replace(text=line))
        for place, part in parts
        for setting in part
        for line in files.lines(place, setting.file)
    ]
    if unit:
        from minirun.runtime.cgroup.systemd import scope

        scope.set_properties(unit, [setting for _, part in parts for setting in part])
    try:
        for place, part in parts:
            files.apply(place, part)
    except MinirunError:
        _put_back(before)
        if unit:
            scope.set_properties(unit, [setting for _, setting in before])
        raise
    if resources.get("devices"):
        from minirun.runtime.cgroup.devices import access

        cgroup_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            access.change(cgroup_fd, resources["devices"], directories_v1.get("devices", ""))
        finally:
            os.close(cgroup_fd)


def _put_back(before: Sequence[tuple[str, Setting]]) -> None:
    """Give files their old texts back, as far as possible; the first error is the one to report.

    Of two numbers that bound each other, one may be refused until the other is back.
    """
    waiting = list(before)
    while waiting:
        refused = []
        for place, setting in waiting:
            try:
                write(f"{place}/{setting.file}", setting.text)
            except OSError:
                refused.append((place, setting))
        if len(refused) == len(waiting):
            return
        waiting = refused
