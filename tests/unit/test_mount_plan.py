"""A container's mounts as a plan: what, where and why, without anything being made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from minirun.errors import MinirunError
from minirun.kernel.mountinfo import MountInfo, mounted
from minirun.model.spec import Spec
from minirun.runtime.rootfs.mount_plan import MountPlan, plan_mounts, with_cgroup

if TYPE_CHECKING:
    from pathlib import Path


def spec_with(*mounts: dict[str, Any], namespaces: tuple[str, ...] = ("pid", "mount", "cgroup"), **linux: Any) -> Spec:
    kinds = [{"type": kind} for kind in namespaces]
    root = {"path": "rootfs"}
    config = {"ociVersion": "1.2.0", "root": root, "mounts": list(mounts), "linux": {"namespaces": kinds} | linux}
    return Spec.from_dict(config)


def plan_of(*mounts: dict[str, Any], **more: Any) -> tuple[MountPlan, ...]:
    return plan_mounts(spec_with(*mounts, **more), "/bundle")


def test_a_plan_says_what_where_and_why() -> None:
    proc, data = plan_of(
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/data", "type": "bind", "source": "data", "options": ["rbind", "ro"]},
    )
    assert (proc.title, proc.destination) == ("mount proc on /proc", "/proc")
    assert proc.why == "The host's /proc would show the host's processes."
    assert (data.title, data.source, data.destination) == ("bind data to /data", "/bundle/data", "/data")


def test_destinations_on_the_host_are_those_in_the_container() -> None:
    (plan,) = plan_of({"destination": "/bundle/rootfs/tmp", "type": "tmpfs"})
    assert plan.destination == "/tmp"


def test_a_file_systems_own_words_are_its_settings() -> None:
    (plan,) = plan_of({"destination": "/x", "type": "tmpfs", "options": ["nosuid", "size=1m", "mode=700", "lazytime"]})
    assert plan.settings == {"source": "tmpfs", "lazytime": "", "size": "1m", "mode": "700"}


def test_what_cannot_be_meant_is_refused_with_its_number() -> None:
    with pytest.raises(MinirunError, match=r"mounts\[1\] \(/proc\): only a procfs may be mounted on /proc"):
        plan_of({"destination": "/x", "type": "tmpfs"}, {"destination": "/proc", "type": "tmpfs"})
    with pytest.raises(MinirunError, match="only a bind mount or a tmpfs can take the place of the root"):
        plan_of({"destination": "/bundle/rootfs", "type": "proc"})


@pytest.mark.parametrize(
    ("namespaces", "shown"), [(("mount", "cgroup"), "/sys/fs/cgroup/x"), (("mount",), "mount of cgroup2")]
)
def test_cgroups_are_shown_as_the_host_has_them(namespaces: tuple[str, ...], shown: str) -> None:
    spec = spec_with({"destination": "/sys/fs/cgroup", "type": "cgroup"}, namespaces=namespaces)
    (plan,) = with_cgroup(plan_mounts(spec, "/bundle"), spec, "/sys/fs/cgroup/x", {})
    host = next((mount.mount_point for mount in mounted("cgroup2")), "")
    assert plan.fstype == "cgroup2"
    assert plan.shown == (host if shown == "mount of cgroup2" else shown)


def test_cgroups_of_v1_are_shown_where_the_container_has_them() -> None:
    spec = spec_with({"destination": "/sys/fs/cgroup", "type": "cgroup"})
    (plan,) = with_cgroup(plan_mounts(spec, "/bundle"), spec, "/cg", {"cpu,cpuacct": "/cg1/cpu/x"})
    assert plan.hierarchies == {"cpu,cpuacct": "/cg1/cpu/x"}
    assert plan.title == "mount the hierarchies of cgroup v1 below /sys/fs/cgroup"


def test_mountinfo_is_read_as_the_kernel_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "mountinfo"
    file.write_text(
        "36 35 98:0 /mnt1 /mnt/with\\040space rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n"
        "37 35 0:5 / /back\\134040slash rw - proc proc rw\n"
    )
    ext3 = MountInfo("98:0", "/mnt1", "/mnt/with space", "ext3", ("rw", "errors=continue"), ("master:1",))
    proc = MountInfo("0:5", "/", "/back\\040slash", "proc", ("rw",))
    assert mounted(mountinfo=str(file)) == [ext3, proc]
    assert mounted("proc", mountinfo=str(file)) == [proc]
