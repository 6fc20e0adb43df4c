"""What systemd is told: names of scopes and slices, and limits as properties of a unit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.errors import MinirunError
from minirun.runtime.cgroup.limits import files_of
from minirun.runtime.cgroup.systemd.properties import bits_of, properties_of, rounded
from minirun.runtime.cgroup.systemd.scope import scope_of

UNLIMITED = 2**64 - 1


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", ("system.slice/minirun-ID.scope", "minirun-ID.scope")),
        ("system.slice:docker:abc", ("system.slice/docker-abc.scope", "docker-abc.scope")),
        ("machine.slice:libpod:abc", ("machine.slice/libpod-abc.scope", "libpod-abc.scope")),
        (":runc:abc", ("system.slice/runc-abc.scope", "runc-abc.scope")),
        ("a-b-c.slice::abc", ("a.slice/a-b.slice/a-b-c.slice/abc.scope", "abc.scope")),
        ("-.slice:x:y", ("x-y.scope", "x-y.scope")),
    ],
)
def test_the_place_of_a_scope(path: str, expected: tuple[str, str]) -> None:
    assert scope_of(path, "ID") == expected


@pytest.mark.parametrize(
    "path", ["/docker/abc", "a:b", "a:b:c", "a--b.slice:x:y", "../x.slice:x:y", "a.slice:../x:y", "a.slice:x:y.slice"]
)
def test_what_is_no_place(path: str) -> None:
    with pytest.raises(MinirunError, match="cgroupsPath"):
        scope_of(path, "ID")


def test_limits_as_properties() -> None:
    resources = {
        "memory": {"limit": 1000, "swap": 3000, "reservation": 500},
        "cpu": {"shares": 100, "quota": 500000, "period": 900000, "cpus": "0-2,9", "mems": "0"},
        "pids": {"limit": -1},
        "unified": {"memory.high": "700", "memory.oom.group": "1"},
    }
    assert properties_of(files_of(resources)) == [
        ("MemorySwapMax", ("t", 2000)),
        ("MemoryMax", ("t", 1000)),
        ("MemoryLow", ("t", 500)),
        ("CPUWeight", ("t", 17)),
        ("CPUQuotaPerSecUSec", ("t", 560000)),
        ("CPUQuotaPeriodUSec", ("t", 900000)),
        ("AllowedCPUs", ("ay", b"\x07\x02")),
        ("AllowedMemoryNodes", ("ay", b"\x01")),
        ("TasksMax", ("t", UNLIMITED)),
        ("MemoryHigh", ("t", 700)),
    ]


def test_the_kernel_gets_the_quota_that_systemd_has() -> None:
    for asked, text in (
        ({"quota": 500000, "period": 900000}, "504000 900000"),
        ({"quota": 50000, "period": 100000}, "50000 100000"),
        ({"quota": 1}, "1000 100000"),
        ({"quota": -1}, "max 100000"),
    ):
        (setting,) = rounded(files_of({"cpu": asked}))
        assert setting.text == text
        assert properties_of([setting]) == properties_of(files_of({"cpu": asked}))


@pytest.mark.parametrize("text", ["", "a", "1 b", "1 0", "1 2 3", "-1"])
def test_a_quota_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(MinirunError, match=r"unified\.cpu\.max"):
        rounded(files_of({"unified": {"cpu.max": text}}))


def test_an_idle_scope_weighs_nothing() -> None:
    assert properties_of(files_of({"cpu": {"idle": 1}})) == [("CPUWeight", ("t", 0))]
    assert properties_of(files_of({"cpu": {"idle": 0, "shares": 1024}})) == [("CPUWeight", ("t", 100))]


def test_no_quota_is_infinity() -> None:
    found = properties_of(files_of({"cpu": {"quota": -1}}))
    assert found == [("CPUQuotaPerSecUSec", ("t", UNLIMITED)), ("CPUQuotaPeriodUSec", ("t", 100000))]


@given(st.sets(st.integers(0, 500), min_size=1))
def test_masks_hold_what_the_list_says(numbers: set[int]) -> None:
    mask = int.from_bytes(bits_of(",".join(map(str, sorted(numbers))), "field"), "little")
    assert {number for number in range(mask.bit_length()) if mask >> number & 1} == numbers


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "1-b", "0-99999999"])
def test_a_wrong_list_is_refused(text: str) -> None:
    with pytest.raises(MinirunError, match=r"cpu\.cpus"):
        bits_of(text, "linux.resources.cpu.cpus")
