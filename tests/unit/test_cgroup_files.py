"""linux.resources becomes the files of cgroup v2: against a second, plainer translation, and field by field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.errors import MinirunError
from minirun.runtime.cgroup.limits import files_of, weight_of
from minirun.runtime.cgroup.limits_v1 import files_of as files_of_v1

if TYPE_CHECKING:
    from collections.abc import Callable

sizes = st.integers(1, 2**50)
limits = st.one_of(st.none(), st.just(0), st.just(-1), sizes)


def texts(resources: dict[str, Any], now: dict[str, str] | None = None) -> dict[str, str]:
    return {setting.file: setting.text for setting in files_of(resources, now)}


@given(limit=limits, swap=limits, reservation=limits)
def test_memory(limit: int | None, swap: int | None, reservation: int | None) -> None:
    fields = {"limit": limit, "swap": swap, "reservation": reservation}
    impossible = (swap and swap > 0 and (not limit or swap < limit)) or (swap == 0 and limit is None)
    if impossible:
        with pytest.raises(MinirunError, match=r"memory\.swap"):
            files_of({"memory": fields})
        return
    expected = {}
    if limit:
        expected["memory.max"] = "max" if limit == -1 else str(limit)
    if swap:
        expected["memory.swap.max"] = "max" if swap == -1 else str(swap - max(limit or 0, 0))
    elif limit == -1:
        expected["memory.swap.max"] = "max"
    if reservation:
        expected["memory.low"] = "max" if reservation == -1 else str(reservation)
    assert texts({"memory": fields}) == expected


@given(quota=limits, period=st.one_of(st.none(), st.just(0), st.integers(1000, 1_000_000)))
def test_cpu_quota_and_period(quota: int | None, period: int | None) -> None:
    found = texts({"cpu": {"quota": quota, "period": period}})
    if not quota and not period:
        assert found == {}
    else:
        assert found == {"cpu.max": f"{quota if quota and quota > 0 else 'max'} {period or 100000}"}


@given(st.integers(0, 2**64))
def test_shares_become_a_weight_of_the_kernels_range(shares: int) -> None:
    assert 1 <= weight_of(shares) <= 10000
    assert weight_of(shares) <= weight_of(shares + 1)


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (100, 17), (1024, 100), (4321, 316), (262144, 10000)])
def test_shares_that_others_know(shares: int, weight: int) -> None:
    assert texts({"cpu": {"shares": shares}}) == {"cpu.weight": str(weight)}


def test_every_other_field() -> None:
    resources = {
        "cpu": {"burst": 1000, "idle": 1, "shares": 500, "cpus": "0-1", "mems": "0"},
        "pids": {"limit": 7},
        "blockIO": {
            "weight": 10,
            "weightDevice": [{"major": 8, "minor": 0, "weight": 1000}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 5}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}],
        },
        "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
        "rdma": {"mlx5_1": {"hcaHandles": 3}},
        "unified": {"memory.high": "12", "io.latency": "8:0 target=1\n8:16 target=2"},
    }
    assert [(setting.file, setting.text) for setting in files_of(resources)] == [
        ("cpu.idle", "1"),
        ("cpu.max.burst", "1000"),
        ("cpuset.cpus", "0-1"),
        ("cpuset.mems", "0"),
        ("pids.max", "7"),
        ("io.bfq.weight", "10"),
        ("io.bfq.weight", "8:0 1000"),
        ("io.max", "8:0 rbps=5"),
        ("io.max", "8:16 wiops=max"),
        ("hugetlb.2MB.max", "0"),
        ("hugetlb.2MB.rsvd.max", "0"),
        ("rdma.max", "mlx5_1 hca_handle=3 hca_object=max"),
        ("memory.high", "12"),
        ("io.latency", "8:0 target=1"),
        ("io.latency", "8:16 target=2"),
    ]
    fallbacks = [setting.fallback.text for setting in files_of(resources) if setting.fallback]
    assert fallbacks == ["1", "8:0 10000"]


def test_names_match_in_any_case() -> None:
    assert texts({"CPU": {"Cpus": "1"}}) == {"cpuset.cpus": "1"}
    both = {"cpu": {"shares": 1024, "quota": 1000}, "CPU": {"Cpus": "0", "Quota": 2000}}
    assert texts(both) == {"cpu.weight": "100", "cpu.max": "2000 100000", "cpuset.cpus": "0"}


@pytest.mark.parametrize(
    "resources",
    [
        {},
        {"memory": None, "cpu": None, "pids": None, "blockIO": None, "hugepageLimits": None, "unified": None},
        {"memory": {"limit": 0, "swap": 0, "reservation": 0, "kernel": 1, "kernelTCP": 1, "swappiness": 60}},
        {"memory": {"disableOOMKiller": True, "useHierarchy": True}, "network": {"classID": 1, "priorities": []}},
        {"cpu": {"shares": 0, "quota": 0, "period": 0, "realtimeRuntime": 0, "realtimePeriod": 0, "cpus": ""}},
        {"pids": {"limit": 0}, "blockIO": {"weight": 0, "leafWeight": 500, "weightDevice": []}},
    ],
)
def test_what_asks_for_nothing(resources: dict[str, Any]) -> None:
    assert files_of(resources) == []


@pytest.mark.parametrize("translate", [files_of, lambda resources: files_of_v1(resources, {}, ("memory",))])
def test_no_swap_at_all_is_refused_and_not_forgotten(translate: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(MinirunError, match=r"linux\.resources\.memory\.swap"):
        translate({"memory": {"swap": 0}})


def test_what_docker_podman_and_kubernetes_pass_on_for_no_limits_is_not_real() -> None:
    resources = {
        "memory": {"limit": -1, "swap": -1, "reservation": -1},
        "cpu": {"shares": 1024, "quota": -1, "period": 100000, "burst": 0, "idle": 0},
        "pids": {"limit": -1},
        "hugepageLimits": [{"pageSize": "1GB", "limit": 0}],
        "blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 0}]},
    }
    settings = files_of(resources)
    assert settings
    assert [setting.field for setting in settings if setting.is_limit] == []


@pytest.mark.parametrize(
    ("resources", "field"),
    [
        ({"memory": {"limit": "1"}}, "linux.resources.memory.limit"),
        ({"memory": []}, "linux.resources.memory"),
        ({"cpu": {"shares": True}}, "linux.resources.cpu.shares"),
        ({"cpu": {"cpus": 1}}, "linux.resources.cpu.cpus"),
        ({"cpu": {"realtimeRuntime": 5}}, "linux.resources.cpu.realtimeRuntime"),
        ({"cpu": {"realtimePeriod": 5}}, "linux.resources.cpu.realtimePeriod"),
        ({"blockIO": {"weight": 5}}, "linux.resources.blockIO.weight"),
        ({"blockIO": {"weightDevice": {}}}, "linux.resources.blockIO.weightDevice"),
        ({"hugepageLimits": [{"pageSize": "../MB", "limit": 1}]}, r"linux.resources.hugepageLimits\[0\].pageSize"),
        ({"unified": {"../memory.max": "1"}}, "../memory.max"),
        ({"unified": {"NOT-A-KEY": "1"}}, "NOT-A-KEY"),
        ({"unified": {"memory.max": 1}}, "linux.resources.unified.memory.max"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(resources: dict[str, Any], field: str) -> None:
    with pytest.raises(MinirunError, match=field):
        files_of(resources)


# -- changes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"cpu": {"period": 50000}}, {"cpu.max": "20000 50000"}),
        ({"cpu": {"quota": 7000}}, {"cpu.max": "7000 40000"}),
        ({"cpu": {"quota": -1}}, {"cpu.max": "max 40000"}),
        ({"cpu": {"shares": 2}}, {"cpu.idle": "0", "cpu.weight": "1"}),
        ({"memory": {"swap": 150}}, {"memory.swap.max": "50"}),
        ({"memory": {"swap": -1}}, {"memory.swap.max": "max"}),
        ({"memory": {"limit": 120}}, {"memory.swap.max": "60", "memory.max": "120"}),
        ({"memory": {"limit": -1}}, {"memory.swap.max": "max", "memory.max": "max"}),
        ({"memory": {"limit": 200, "swap": 300}}, {"memory.swap.max": "100", "memory.max": "200"}),
    ],
)
def test_a_change_keeps_the_other_number(resources: dict[str, Any], expected: dict[str, str]) -> None:
    now = {"cpu.max": "20000 40000", "cpu.idle": "1", "memory.max": "100", "memory.swap.max": "80"}
    assert texts(resources, now) == expected


@given(limit=sizes, swap=sizes, total=sizes)
def test_the_sum_of_memory_and_swap_is_what_was_asked_for(limit: int, swap: int, total: int) -> None:
    now = {"memory.max": str(limit), "memory.swap.max": str(swap)}
    if total >= limit:
        assert limit + int(texts({"memory": {"swap": total}}, now)["memory.swap.max"]) == total
    else:
        with pytest.raises(MinirunError, match="lower than"):
            files_of({"memory": {"swap": total}}, now)


def test_a_limit_below_what_is_used_is_refused_if_asked_to() -> None:
    now = {"memory.current": "1000"}
    for limits, what in ({"limit": 1000}, "memory limit 1000"), ({"limit": 10, "swap": 20}, r"memory\+swap limit 20"):
        with pytest.raises(MinirunError, match=f"rejecting {what}: 1000 bytes are in use"):
            files_of({"memory": limits | {"checkBeforeUpdate": True}}, now)
    assert texts({"memory": {"limit": 1001, "checkBeforeUpdate": True}}, now) == {"memory.max": "1001"}
    assert texts({"memory": {"limit": 999}}, now) == {"memory.max": "999"}


def test_an_idle_cgroup_has_no_weight(capsys: pytest.CaptureFixture[str]) -> None:
    assert texts({"cpu": {"idle": 1, "shares": 200}}) == {"cpu.idle": "1"}
    assert "cpu.weight and cpu.idle: ignoring linux.resources.cpu.shares" in capsys.readouterr().err
    assert texts({"unified": {"cpu.weight": "8", "cpu.idle": "1"}}) == {"cpu.idle": "1"}
    assert texts({"cpu": {"idle": 0, "shares": 1024}}) == {"cpu.idle": "0", "cpu.weight": "100"}
