"""Whom a container's cgroup belongs to: runtime-spec config-linux.md, "Cgroup ownership"."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minirun.model.spec import IdMapping, MountSpec, Namespace, Process, Spec
from minirun.runtime.cgroup import v2

WRITABLE = MountSpec("/sys/fs/cgroup/", "cgroup", "cgroup", ("nosuid",))
READONLY = WRITABLE.replace(options=("nosuid", "ro"))
OWN = Namespace("cgroup")
USERS = Namespace("user")
MAPPED = (IdMapping(0, 100_000, 1000), IdMapping(1000, 5000, 10))


@pytest.mark.parametrize(
    ("fields", "owner"),
    [
        ({}, 1001),
        ({"mounts": (READONLY,)}, 0),
        ({"mounts": (WRITABLE.replace(source="cgroup2"),)}, 0),
        ({"mounts": (WRITABLE.replace(destination="/cgroup"),)}, 0),
        ({"namespaces": ()}, 0),
        ({"namespaces": (Namespace("cgroup", "/proc/1/ns/cgroup"),)}, 0),
        ({"namespaces": (OWN, USERS), "uid_mappings": MAPPED}, 5001),
        ({"namespaces": (OWN, USERS), "uid_mappings": MAPPED[:1]}, 0),
        ({"process": None}, 0),
    ],
)
def test_the_commands_user_if_it_can_use_it(fields: dict[str, Any], owner: int) -> None:
    process = Process(args=("sh",), cwd="/", uid=1001)
    spec = Spec("1.3.0", "rootfs", process=process, mounts=(WRITABLE,), namespaces=(OWN,))
    assert v2.owner_of(spec.replace(**fields)) == owner


def test_only_what_is_safe_is_given_away(tmp_path: Path) -> None:
    for name in ("cgroup.procs", "cgroup.threads", "memory.max"):
        (tmp_path / name).touch()
    v2.delegate(str(tmp_path), 1001)
    owners = {path.name: path.stat().st_uid for path in tmp_path.iterdir()}
    assert owners == {"cgroup.procs": 1001, "cgroup.threads": 1001, "memory.max": 0}
    assert tmp_path.stat().st_uid == 1001
