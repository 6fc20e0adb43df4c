"""linux.resources as files of cgroup v1: which text goes to which file, in which order, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from minirun.errors import MinirunError
from minirun.runtime.cgroup.limits import files_of as v2_files_of
from minirun.runtime.cgroup.limits_v1 import files_of
from minirun.runtime.cgroup.systemd.properties import properties_of
from minirun.runtime.cgroup.v1 import below, controllers

if TYPE_CHECKING:
    from pathlib import Path

ALL = "memory cpu cpuset pids blkio hugetlb rdma net_cls net_prio".split()


def lines(resources: dict[str, Any], now: dict[str, str] | None = None) -> list[tuple[str, str]]:
    return [(setting.file, setting.text) for setting in files_of(resources, now or {}, ALL)]


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"memory": {"limit": 0, "swap": 0, "swappiness": None, "disableOOMKiller": False}, "cpu": {"cpus": ""}}, []),
        (
            {"memory": {"limit": 10, "swap": 20, "reservation": 5, "kernel": 7, "kernelTCP": 3, "useHierarchy": True}},
            [
                ("memory.use_hierarchy", "1"),
                ("memory.limit_in_bytes", "10"),
                ("memory.memsw.limit_in_bytes", "20"),
                ("memory.soft_limit_in_bytes", "5"),
                ("memory.kmem.tcp.limit_in_bytes", "3"),
            ],
        ),
        ({"memory": {"limit": -1}}, [("memory.limit_in_bytes", "-1"), ("memory.memsw.limit_in_bytes", "-1")]),
        (
            {"memory": {"swappiness": 0, "disableOOMKiller": True}},
            [("memory.swappiness", "0"), ("memory.oom_control", "1")],
        ),
        ({"memory": {"swappiness": -1}}, []),
        (
            {"cpu": {"shares": 99, "quota": 5000, "period": 10000, "burst": 100, "cpus": "0-1", "mems": "0"}},
            [
                ("cpu.shares", "99"),
                ("cpu.cfs_burst_us", "100"),
                ("cpu.cfs_period_us", "10000"),
                ("cpu.cfs_quota_us", "5000"),
                ("cpuset.cpus", "0-1"),
                ("cpuset.mems", "0"),
            ],
        ),
        (
            {"cpu": {"realtimeRuntime": 9, "realtimePeriod": 10}},
            [("cpu.rt_period_us", "10"), ("cpu.rt_runtime_us", "9")],
        ),
        ({"cpu": {"idle": 1, "shares": 5}}, [("cpu.idle", "1")]),
        (
            {
                "blockIO": {
                    "weight": 10,
                    "leafWeight": 20,
                    "weightDevice": [{"major": 8, "minor": 0, "weight": 500, "leafWeight": 300}],
                    "throttleReadBpsDevice": [{"major": 8, "minor": 16, "rate": 7}],
                    "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": -1}],
                }
            },
            [
                ("blkio.weight", "10"),
                ("blkio.weight_device", "8:0 500"),
                ("blkio.leaf_weight", "20"),
                ("blkio.leaf_weight_device", "8:0 300"),
                ("blkio.throttle.read_bps_device", "8:16 7"),
                ("blkio.throttle.write_iops_device", "8:16 0"),
            ],
        ),
        (
            {"hugepageLimits": [{"pageSize": "2MB", "limit": 4}]},
            [("hugetlb.2MB.limit_in_bytes", "4"), ("hugetlb.2MB.rsvd.limit_in_bytes", "4")],
        ),
        (
            {"network": {"classID": 1048577, "priorities": [{"name": "lo", "priority": 5}]}},
            [("net_cls.classid", "1048577"), ("net_prio.ifpriomap", "lo 5")],
        ),
        ({"pids": {"limit": -1}}, [("pids.max", "max")]),
    ],
)
def test_files(resources: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert lines(resources) == expected


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        ({"limit": 20, "swap": 40}, ["memory.memsw.limit_in_bytes", "memory.limit_in_bytes"]),
        ({"limit": 5, "swap": 8}, ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]),
        ({"limit": -1}, ["memory.memsw.limit_in_bytes", "memory.limit_in_bytes"]),
        ({"limit": 12}, ["memory.limit_in_bytes"]),
    ],
)
def test_what_grows_makes_room_for_the_other(memory: dict[str, int], expected: list[str]) -> None:
    now = {"memory.limit_in_bytes": "10", "memory.memsw.limit_in_bytes": "15"}
    assert [name for name, _ in lines({"memory": memory}, now)] == expected


def test_a_change_of_period_or_quota_tells_both() -> None:
    now = {"cpu.cfs_quota_us": "5000", "cpu.cfs_period_us": "10000"}
    assert lines({"cpu": {"quota": 7000}}, now) == [("cpu.cfs_period_us", "10000"), ("cpu.cfs_quota_us", "7000")]
    assert lines({"cpu": {"period": 20000}}, now) == [("cpu.cfs_period_us", "20000"), ("cpu.cfs_quota_us", "5000")]


@pytest.mark.parametrize(
    ("resources", "field"),
    [
        ({"memory": {"limit": 16}}, "swap"),
        ({"memory": {"limit": 20, "swap": 10}}, "swap"),
        ({"memory": {"limit": 3, "checkBeforeUpdate": True}}, "limit"),
        ({"memory": {"swappiness": 101}}, "swappiness"),
        ({"cpu": {"shares": 1}}, "shares"),
        ({"blockIO": {"leafWeight": 9}}, "leafWeight"),
    ],
)
def test_what_cannot_be(resources: dict[str, Any], field: str) -> None:
    now = {"memory.limit_in_bytes": "10", "memory.memsw.limit_in_bytes": "15", "memory.usage_in_bytes": "4"}
    section = next(iter(resources))
    with pytest.raises(MinirunError, match=rf"linux\.resources\.{section}\.{field}"):
        lines(resources, now)


def test_each_version_gets_its_own_controllers() -> None:
    resources = {"memory": {"limit": 10, "swap": 5}, "cpu": {"realtimeRuntime": 5}, "pids": {"limit": 3}}
    elsewhere = controllers({"memory": "", "cpu,cpuacct": "", "blkio": "", "name=systemd": ""})
    assert elsewhere >= {"memory", "cpu", "cpuacct", "io"}
    assert [setting.file for setting in v2_files_of(resources, elsewhere=elsewhere)] == ["pids.max"]
    assert [setting.file for setting in files_of({"pids": {"limit": 3}}, {}, ["memory"])] == []


def test_limits_as_properties_of_a_unit() -> None:
    resources = {"memory": {"limit": 1000}, "cpu": {"shares": 100, "quota": 500000, "period": 900000}}
    assert properties_of(files_of(resources, {}, ALL)) == [
        ("MemoryLimit", ("t", 1000)),
        ("CPUShares", ("t", 100)),
        ("CPUQuotaPerSecUSec", ("t", 560000)),
        ("CPUQuotaPeriodUSec", ("t", 900000)),
    ]


def test_cgroups_below(tmp_path: Path) -> None:
    directories = {names: f"{tmp_path}/{names or 'v2'}" for names in ("", "memory", "cpu,cpuacct", "name=systemd")}
    (tmp_path / "v2").mkdir()
    for names, name in (("memory", "a"), ("cpu,cpuacct", "b"), ("name=systemd", "c")):
        (tmp_path / names / name).mkdir(parents=True)
    assert below(directories, ("memory:a", "cpuacct:/b", "systemd:c")) == {
        "": f"{tmp_path}/v2",
        "memory": f"{tmp_path}/memory/a",
        "cpu,cpuacct": f"{tmp_path}/cpu,cpuacct/b",
        "name=systemd": f"{tmp_path}/name=systemd/c",
    }
    assert below(directories, ()) == directories
    for wrong in ("nosuch:a", ":a", "memory:..", "memory:none", "../x"):
        with pytest.raises(MinirunError):
            below(directories, (wrong,))
