"""What can be known of a container whose state.json is damaged: enough to list it, to end it, and to remove its cgroup.

The copy of the bundle's config.json names the cgroup, and the cgroup lists the processes. If that copy is damaged as
well, a container of `minirun run` is found by its id, which no other cgroup has as its name.
"""

from __future__ import annotations

import os

from minirun.errors import MinirunError
from minirun.kernel.files import read
from minirun.runtime.bundle import load_spec
from minirun.runtime.cgroup.files import processes
from minirun.runtime.cgroup.hierarchy import directory_of, find_hierarchy
from minirun.runtime.container_state import ContainerState, start_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minirun.model.spec import Spec

_ID_LENGTH = 64  # of ids that are random digits


def state_of(directory: str, container_id: str) -> ContainerState:
    """Return the state of a container, reconstructed. What is not known is empty; pid 0 means that it does not run."""
    spec = _spec(directory)
    place, pids = "", list[int]()
    for place in _places(spec, container_id):
        if pids := processes(place):
            break
    pid = min(pids, key=_order, default=0)
    found = ContainerState(
        id=container_id,
        bundle="",
        pid=pid,
        pid_start_time=start_time(pid) if pid else "",
        created=os.stat(directory).st_mtime,
        cgroup=place if os.path.isdir(place) else "",
        cgroup_v1=_cgroups_v1(pid) if pid else {},
    )
    if spec is None:
        return found
    hooks = tuple(kind for kind, entries in spec.hooks.items() if entries)
    return found.replace(annotations=spec.annotations, hooks=hooks)


def _spec(directory: str) -> Spec | None:
    try:
        return load_spec(directory)
    except MinirunError:
        return None


def _places(spec: Spec | None, container_id: str) -> Iterator[str]:
    """Yield the directories that the container's cgroup may have."""
    try:
        hierarchy = find_hierarchy()
    except MinirunError:
        return
    if spec is None:
        if len(container_id) == _ID_LENGTH:
            yield directory_of(hierarchy, f"/minirun/{container_id}", container_id)
        return
    if spec.cgroups_path.count(":") == 2:
        from minirun.runtime.cgroup.systemd.scope import scope_of

        yield f"{hierarchy.mount_point}/{scope_of(spec.cgroups_path, container_id)[0]}"
    directory = directory_of(hierarchy, spec.cgroups_path, container_id)
    if directory.rstrip("/") != hierarchy.mount_point:
        yield directory


def _order(pid: int) -> tuple[bool, int]:
    """Sort the first process of a PID namespace before others, and these by age."""
    try:
        status = read(f"/proc/{pid}/status")
    except OSError:
        return True, 1 << 62
    numbers = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
    return numbers[-1:] != ["1"], int(start_time(pid) or 1 << 62)


def _cgroups_v1(pid: int) -> dict[str, str]:
    """Return the directories of a process's cgroups in the hierarchies of v1, by their controllers (cgroups(7)).

    A process that has ended in the meantime has none.
    """
    try:
        text = read(f"/proc/{pid}/cgroup")
    except (FileNotFoundError, ProcessLookupError):
        return {}
    lines = (line.split(":", 2) for line in text.splitlines())
    own = {names: path for _, names, path in lines if names}
    found = {}
    for hierarchy in find_hierarchy().v1:
        path = os.path.relpath(own.get(hierarchy.names, "/"), hierarchy.top)
        if path != "." and not path.startswith(".."):
            found[hierarchy.names] = f"{hierarchy.mount_point}/{path}"
    return found
