"""config.json becomes a Spec: what is read, and what is refused by its field's name (runtime-spec 1.3)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from minirun.errors import MinirunError
from minirun.model.spec import IntelRdt, MemoryPolicy, Spec


def config(**fields: Any) -> dict[str, Any]:
    """Return the smallest config.json, with these fields; "linux.seccomp" is written linux__seccomp."""
    document: dict[str, Any] = {
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["sh"]},
        "linux": {},
    }
    for name, value in fields.items():
        *sections, key = name.split("__")
        place = document
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = value
    parsed: dict[str, Any] = json.loads(json.dumps(document))
    return parsed


@pytest.mark.parametrize("version", ["1.0.0", "1.0.2-dev", "1.1.0", "1.2.1+build.7", "1.3.0", "1.3.99"])
def test_versions_that_are_understood(version: str) -> None:
    assert Spec.from_dict(config(ociVersion=version)).oci_version == version


@pytest.mark.parametrize("version", ["", "1", "1.0", "1.2.x", "01.0.0", "1.-2.0", "v1.0.0", "0.5.0", "1.4.0", "2.0.0"])
def test_versions_that_are_refused(version: str) -> None:
    with pytest.raises(MinirunError, match="ociVersion"):
        Spec.from_dict(config(ociVersion=version))


def test_unknown_properties_are_ignored() -> None:
    fields = {"unknown": 1, "linux__unknown": {}, "hooks__unknown": "no list", "process__unknown": [], "vm": {"x": 1}}
    assert Spec.from_dict(config(**fields)) == Spec.from_dict(config())


def test_a_number_among_a_commands_words_is_one_of_them() -> None:
    process = Spec.from_dict(config(process__args=["sleep", 10])).process
    assert process is not None
    assert process.args == ("sleep", "10")
    with pytest.raises(MinirunError, match=r"process\.args is not a list of strings"):
        Spec.from_dict(config(process__args=["sleep", True]))


def test_null_is_like_absent() -> None:
    names = "process__user process__rlimits process__ioPriority mounts hooks annotations linux__memoryPolicy".split()
    names += "linux__intelRdt linux__netDevices linux__seccomp linux__resources linux__personality".split()
    assert Spec.from_dict(config(**dict.fromkeys(names))) == Spec.from_dict(config())
    assert Spec.from_dict(config(process__user={"umask": None})).process == Spec.from_dict(config()).process


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"process__cwd": "tmp"}, r"process\.cwd"),
        ({"process__user": {"uid": -1}}, r"process\.user\.uid"),
        ({"process__user": {"gid": 1 << 32}}, r"process\.user\.gid"),
        ({"process__user": {"additionalGids": ["5"]}}, r"process\.user\.additionalGids"),
        ({"process__user": {"additionalGids": [-5]}}, r"process\.user\.additionalGids"),
        ({"process__user": {"umask": 0o10000}}, r"process\.user\.umask"),
        ({"process__rlimits": [{"type": "RLIMIT_CPU", "soft": 1}]}, r"process\.rlimits\[0\]\.hard"),
        ({"process__rlimits": [{"type": "RLIMIT_CPU", "soft": 1 << 64, "hard": 1}]}, r"process\.rlimits\[0\]\.soft"),
        ({"process__ioPriority": {"priority": 4}}, r"process\.ioPriority\.class"),
        ({"annotations": {"": "x"}}, "annotations"),
        ({"annotations": {"x": 1}}, "annotations"),
        ({"hooks": {"poststop": [{"path": "bin/true"}]}}, r"hooks\.poststop\[0\]\.path"),
        ({"hooks": {"poststop": [{"path": "/bin/true", "timeout": 0}]}}, r"hooks\.poststop\[0\]\.timeout"),
        ({"linux__namespaces": [{"type": "pid", "path": "proc/1/ns/pid"}]}, r"linux\.namespaces\[0\]\.path"),
        ({"linux__namespaces": [{"type": "pids"}]}, r"linux\.namespaces\[0\]\.type"),
        ({"linux__uidMappings": [{"containerID": 0, "hostID": 0}]}, r"linux\.uidMappings\[0\]\.size"),
        ({"linux__uidMappings": [{"containerID": 0, "hostID": -1, "size": 1}]}, r"linux\.uidMappings\[0\]\.hostID"),
        ({"linux__timeOffsets": {"realtime": {"secs": 1}}}, r"linux\.timeOffsets\.realtime"),
        ({"linux__timeOffsets": {"boottime": {"nanosecs": 1_000_000_000}}}, r"linux\.timeOffsets\.boottime\.nanosecs"),
        ({"linux__devices": [{"type": "c", "path": "/dev/x", "major": 1}]}, r"linux\.devices\[0\]\.minor"),
        ({"linux__devices": [{"type": "x", "path": "/dev/x"}]}, r"linux\.devices\[0\]\.type"),
        ({"linux__maskedPaths": ["proc/kcore"]}, r"linux\.maskedPaths"),
        ({"linux__readonlyPaths": ["proc/sys"]}, r"linux\.readonlyPaths"),
        ({"linux__personality": {"flags": []}}, r"linux\.personality\.domain"),
        ({"linux__personality": {"domain": "LINUX", "flags": ["X"]}}, r"linux\.personality\.flags"),
        ({"linux__intelRdt": {"memBwSchema": "L3:0=f"}}, r"linux\.intelRdt\.memBwSchema"),
        ({"linux__intelRdt": {"memBwSchema": "MB:0=20\nL3:0=f"}}, r"linux\.intelRdt\.memBwSchema"),
        ({"linux__intelRdt": {"schemata": ["L3:0=f\nMB:0=20"]}}, r"linux\.intelRdt\.schemata"),
        ({"linux__intelRdt": {"enableMonitoring": 1}}, r"linux\.intelRdt\.enableMonitoring"),
        ({"linux__netDevices": {"eth0": "eth1"}}, r"linux\.netDevices\.eth0"),
    ],
)
def test_what_is_invalid_is_refused_by_name(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(MinirunError, match=words):
        Spec.from_dict(config(**fields))


def test_a_fifo_needs_no_numbers() -> None:
    assert Spec.from_dict(config(linux__devices=[{"type": "p", "path": "/dev/x"}])).devices[0].type == "p"


def test_memory_policy() -> None:
    policy = {"mode": "MPOL_BIND", "nodes": "0-3,7", "flags": ["MPOL_F_STATIC_NODES"]}
    expected = MemoryPolicy("MPOL_BIND", "0-3,7", ("MPOL_F_STATIC_NODES",))
    assert Spec.from_dict(config(linux__memoryPolicy=policy)).memory_policy == expected
    assert Spec.from_dict(config(linux__memoryPolicy={})).memory_policy == MemoryPolicy(""), "refused by its check"


def test_the_lines_of_a_class_of_service_are_in_order() -> None:
    section = {
        "closID": "gold",
        "schemata": ["L2:0=f", "MB:0=70"],
        "l3CacheSchema": "L3:0=7f0;1=1f",
        "memBwSchema": "MB:0=20",
        "enableMonitoring": True,
    }
    lines = ("L3:0=7f0;1=1f", "MB:0=20", "L2:0=f", "MB:0=70")
    assert Spec.from_dict(config(linux__intelRdt=section)).intel_rdt == IntelRdt("gold", lines, True)
    assert Spec.from_dict(config(linux__intelRdt={})).intel_rdt == IntelRdt()


def test_network_devices_keep_their_name_unless_they_get_another() -> None:
    devices = {"eth0": {}, "eth1": {"name": "inside"}, "eth2": {"name": ""}}
    expected = {"eth0": "eth0", "eth1": "inside", "eth2": "eth2"}
    assert Spec.from_dict(config(linux__netDevices=devices)).net_devices == expected
