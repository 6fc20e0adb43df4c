"""config.json as Docker writes it. The expected values are what dockerd 20.10 gave runc for the same options."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from minirun.engine.spec.build import (
    INIT_ANNOTATION,
    SpecInputs,
    arguments,
    build,
    host_devices,
    thermal_counters,
    working_dir,
)
from minirun.engine.spec.users import User
from minirun.errors import MinirunError
from minirun.model.capabilities import NAMES
from minirun.model.container import RunRequest, Ulimit, VolumeMount
from minirun.model.image import ImageConfig
from minirun.model.oci_version import OCI_VERSION
from minirun.model.resources import Resources
from minirun.model.spec import Spec

if TYPE_CHECKING:
    from pathlib import Path

ID = "9b2b21784af3" + "0" * 52
DEFAULT_CAPABILITIES = sorted(
    "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FSETID CAP_FOWNER CAP_MKNOD CAP_NET_RAW CAP_SETGID CAP_SETUID CAP_SETFCAP "
    "CAP_SETPCAP CAP_NET_BIND_SERVICE CAP_SYS_CHROOT CAP_KILL CAP_AUDIT_WRITE".split()
)
ROOT = User(0, 0, (), "/root")


def config_of(
    image: ImageConfig | None = None,
    user: User = ROOT,
    mounts: tuple[VolumeMount, ...] = (),
    joined: dict[str, str] | None = None,
    **request: Any,
) -> dict[str, Any]:
    """Build a document, pass it through JSON as the bundle does, and have the runtime's own reader check it."""
    request.setdefault("command", ("sleep", "100"))
    found = SpecInputs(ID, "9b2b21784af3", user, "/c", frozenset(NAMES), mounts, joined or {})
    config: dict[str, Any] = json.loads(json.dumps(build(RunRequest("i", **request), image or ImageConfig(), found)))
    Spec.from_dict(config)
    return config


def mounts_of(config: dict[str, Any]) -> dict[str, tuple[str, str, list[str]]]:
    return {m["destination"]: (m["type"], m["source"], m["options"]) for m in config["mounts"]}


def namespaces_of(config: dict[str, Any]) -> dict[str, str]:
    return {entry["type"]: entry.get("path", "") for entry in config["linux"]["namespaces"]}


def test_a_plain_container() -> None:
    config = config_of()
    process = config["process"]
    assert process["terminal"] is False
    assert process["args"] == ["sleep", "100"]
    assert process["cwd"] == "/"
    assert process["user"] == {"uid": 0, "gid": 0, "additionalGids": [0]}
    assert process["env"] == [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOSTNAME=9b2b21784af3",
        "HOME=/root",
    ]
    for name in ("bounding", "effective", "permitted"):
        assert sorted(process["capabilities"][name]) == DEFAULT_CAPABILITIES
    assert not process["capabilities"]["inheritable"]
    assert not process["capabilities"]["ambient"]
    assert process["noNewPrivileges"] is False
    assert process["oomScoreAdj"] == 0
    assert config["root"] == {"path": "rootfs", "readonly": False}
    assert config["hostname"] == "9b2b21784af3"
    assert config["ociVersion"] == OCI_VERSION
    assert config["linux"]["cgroupsPath"] == f"/minirun/{ID}"
    assert config["linux"]["sysctl"] == {
        "net.ipv4.ip_unprivileged_port_start": "0",
        "net.ipv4.ping_group_range": "0 2147483647",
    }
    assert namespaces_of(config) == dict.fromkeys(("mount", "network", "uts", "pid", "ipc", "cgroup"), "")
    assert config["linux"]["seccomp"]["defaultAction"] == "SCMP_ACT_ERRNO"
    assert "annotations" not in config
    assert set(config["linux"]["resources"]) == {"devices"}


def test_the_mounts_of_a_plain_container() -> None:
    quiet = ["nosuid", "noexec", "nodev"]
    assert mounts_of(config_of()) == {
        "/proc": ("proc", "proc", quiet),
        "/dev": ("tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        "/dev/pts": (
            "devpts",
            "devpts",
            ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        "/sys": ("sysfs", "sysfs", [*quiet, "ro"]),
        "/sys/fs/cgroup": ("cgroup", "cgroup", [*quiet, "ro"]),
        "/dev/mqueue": ("mqueue", "mqueue", quiet),
        "/dev/shm": ("tmpfs", "shm", [*quiet, "mode=1777", "size=67108864"]),
        "/etc/resolv.conf": ("bind", "/c/resolv.conf", ["rbind", "rprivate"]),
        "/etc/hostname": ("bind", "/c/hostname", ["rbind", "rprivate"]),
        "/etc/hosts": ("bind", "/c/hosts", ["rbind", "rprivate"]),
    }


def test_paths_that_docker_masks_or_makes_read_only() -> None:
    linux = config_of()["linux"]
    assert set(linux["maskedPaths"]) >= {
        *("/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list"),
        *("/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"),
    }
    assert linux["readonlyPaths"] == ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
    opened = config_of(unmask_paths=True)["linux"]
    assert "maskedPaths" not in opened
    assert "readonlyPaths" not in opened


def test_mounts_are_sorted_by_depth_and_have_dockers_options() -> None:
    volumes = (
        VolumeMount("bind", "/v/x", "/host", read_only=True),
        VolumeMount("bind", "/v", "/volumes/named/_data"),
        VolumeMount("bind", "/alone", "/a", options=("rslave", "bind")),
        VolumeMount("tmpfs", "/t", options=("size=64m", "exec")),
        VolumeMount("tmpfs", "/m", options=("size=1m",)),
    )
    config = config_of(mounts=volumes)
    mounts = mounts_of(config)
    assert mounts["/v"] == ("bind", "/volumes/named/_data", ["rbind", "rprivate"])
    assert mounts["/v/x"] == ("bind", "/host", ["rbind", "rro", "rprivate"])
    assert mounts["/alone"] == ("bind", "/a", ["bind", "rslave"])
    assert mounts["/t"] == ("tmpfs", "tmpfs", ["nosuid", "nodev", "rprivate", "size=64m", "exec"])
    assert mounts["/m"] == ("tmpfs", "tmpfs", ["noexec", "nosuid", "nodev", "rprivate", "size=1m"])
    order = list(mounts)
    assert order.index("/proc") < order.index("/v") < order.index("/v/x")


def test_a_users_mount_takes_the_place_of_the_default_one() -> None:
    volumes = (VolumeMount("bind", "/etc/hosts", "/mine"), VolumeMount("bind", "/dev", "/dev"))
    mounts = mounts_of(config_of(mounts=volumes))
    assert mounts["/etc/hosts"][1] == "/mine"
    assert mounts["/dev"][1] == "/dev"
    assert [path for path in mounts if path.startswith("/dev")] == ["/dev"]


def test_read_only_leaves_what_must_be_writable() -> None:
    config = config_of(read_only=True, mounts=(VolumeMount("bind", "/v", "/host"),))
    mounts = mounts_of(config)
    assert config["root"]["readonly"] is True
    assert {path for path, (_, _, options) in mounts.items() if "ro" in options} == {
        *("/sys", "/sys/fs/cgroup", "/etc/resolv.conf", "/etc/hostname", "/etc/hosts")
    }


def test_a_user_without_root_has_no_capability_in_effect() -> None:
    process = config_of(user=User(1000, 0, (5,), "/"), cap_add=("NET_ADMIN",), tty=True)["process"]
    assert process["user"] == {"uid": 1000, "gid": 0, "additionalGids": [0, 5]}
    assert sorted(process["capabilities"]["bounding"]) == sorted([*DEFAULT_CAPABILITIES, "CAP_NET_ADMIN"])
    assert process["capabilities"]["effective"] == []
    assert process["terminal"] is True
    assert process["env"][2:] == ["TERM=xterm", "HOME=/"]


def test_limits_privileges_and_scores() -> None:
    config = config_of(
        ulimits=(Ulimit("nofile", 100, 200), Ulimit("core", -1, -1)),
        no_new_privileges=True,
        oom_score_adj=5,
        init=True,
        annotations={"a": "b"},
        sysctls={"net.ipv4.ip_forward": "1"},
        domainname="example",
    )
    unlimited = 2**64 - 1
    assert config["process"]["rlimits"] == [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": unlimited, "hard": unlimited},
    ]
    assert config["process"]["noNewPrivileges"] is True
    assert config["process"]["oomScoreAdj"] == 5
    assert config["annotations"] == {"a": "b", INIT_ANNOTATION: "true"}
    assert config["linux"]["sysctl"]["net.ipv4.ip_forward"] == "1"
    assert config["domainname"] == "example"


@pytest.mark.parametrize(
    ("resources", "section", "value"),
    [
        (Resources(memory=1, memory_swap=2, memory_reservation=3), "memory", {"limit": 1, "swap": 2, "reservation": 3}),
        (Resources(nano_cpus=1_500_000_000), "cpu", {"quota": 150_000, "period": 100_000}),
        (Resources(cpu_shares=512, cpuset_cpus="0-1"), "cpu", {"shares": 512, "cpus": "0-1"}),
        (Resources(cpu_quota=5000, cpu_period=10000), "cpu", {"quota": 5000, "period": 10000}),
        (Resources(pids_limit=5), "pids", {"limit": 5}),
        (Resources(pids_limit=-1), "pids", None),
    ],
)
def test_resources_hold_only_what_was_asked_for(resources: Resources, section: str, value: object) -> None:
    given = config_of(resources=resources)["linux"]["resources"]
    assert given.get(section) == value
    assert set(given) - {section} == {"devices"}


def test_the_hosts_namespaces() -> None:
    config = config_of(pid_mode="host", ipc_mode="host", uts_mode="host", network="host", cgroupns_mode="host")
    assert namespaces_of(config) == {"mount": ""}
    assert "hostname" not in config
    assert "sysctl" not in config["linux"]
    assert mounts_of(config)["/dev/shm"] == ("bind", "/dev/shm", ["rbind", "rprivate"])


def test_joined_namespaces_and_no_shared_memory() -> None:
    config = config_of(network="container:x", ipc_mode="none", joined={"network": "/proc/7/ns/net"})
    assert namespaces_of(config)["network"] == "/proc/7/ns/net"
    assert "sysctl" not in config["linux"]
    assert "/dev/shm" not in mounts_of(config)


def test_privileged_opens_everything() -> None:
    config = config_of(privileged=True)
    linux = config["linux"]
    assert sorted(config["process"]["capabilities"]["effective"]) == sorted(NAMES)
    assert "seccomp" not in linux
    assert "maskedPaths" not in linux
    assert linux["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert mounts_of(config)["/sys"][2][-1] == "rw"
    assert {device["path"] for device in linux["devices"]} >= {"/dev/null", "/dev/kmsg"}


def test_seccomp_of_the_user() -> None:
    assert "seccomp" not in config_of(seccomp="unconfined")["linux"]
    profile = '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}'
    for privileged in (False, True):
        seccomp = config_of(seccomp=profile, privileged=privileged)["linux"]["seccomp"]
        assert seccomp["defaultAction"] == "SCMP_ACT_ALLOW"


def test_devices_and_their_rules() -> None:
    config = config_of(devices=("/dev/null:/dev/mine:r",), device_cgroup_rules=("c 1:* rwm",))
    (device,) = config["linux"]["devices"]
    status = os.stat("/dev/null")
    assert device == {
        "path": "/dev/mine",
        "type": "c",
        "major": 1,
        "minor": 3,
        "fileMode": status.st_mode & 0o7777,
        "uid": 0,
        "gid": 0,
    }
    rules = config["linux"]["resources"]["devices"]
    assert rules[0] == {"allow": False, "access": "rwm"}
    assert {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "r"} in rules
    assert rules[-1] == {"allow": True, "type": "c", "major": 1, "access": "rwm"}
    assert len(rules) == 3


@pytest.mark.parametrize("path", ["/nonexistent", "/etc/passwd"])
def test_what_is_no_device(path: str) -> None:
    with pytest.raises(MinirunError, match=f"cannot give the container {path}"):
        config_of(devices=(f"{path}:/x:r",))


def test_the_hosts_devices_are_without_terminals() -> None:
    found = host_devices("/dev")
    assert "/dev/null" in found
    assert not [path for path in found if path.startswith(("/dev/pts/", "/dev/shm/")) or path == "/dev/console"]


IMAGE = ImageConfig(entrypoint=("entry",), cmd=("cmd",), working_dir="/app")


@pytest.mark.parametrize(
    ("request_fields", "image", "args"),
    [
        ({}, IMAGE, ("entry", "cmd")),
        ({"command": ("x",)}, IMAGE, ("entry", "x")),
        ({"entrypoint": ("e",)}, IMAGE, ("e",)),
        ({"entrypoint": ("e",), "command": ("x", "y")}, IMAGE, ("e", "x", "y")),
        ({"entrypoint": (), "command": ("x",)}, IMAGE, ("x",)),
        ({}, ImageConfig(cmd=("only",)), ("only",)),
    ],
)
def test_entrypoint_and_command(request_fields: dict[str, Any], image: ImageConfig, args: tuple[str, ...]) -> None:
    assert arguments(RunRequest("i", **request_fields), image) == args


@pytest.mark.parametrize("fields", [{}, {"entrypoint": ()}])
def test_no_command_at_all(fields: dict[str, Any]) -> None:
    image = ImageConfig() if not fields else IMAGE
    with pytest.raises(MinirunError, match="No command specified") as caught:
        arguments(RunRequest("i", **fields), image)
    assert caught.value.exit_code == 125


@pytest.mark.parametrize(
    ("asked", "of_image", "path"),
    [("", "", "/"), ("", "/app", "/app"), ("/w/../x/", "/app", "/x"), ("", "app", "/app"), ("//x", "", "/x")],
)
def test_working_dir(asked: str, of_image: str, path: str) -> None:
    assert working_dir(RunRequest("i", working_dir=asked), ImageConfig(working_dir=of_image)) == path


def test_the_environment_is_layered() -> None:
    image = ImageConfig(env=("PATH=/image", "A=1", "B=1", "C=1"))
    env = config_of(image, environment=("A=2", "B", "HOSTNAME=mine", "HOME=/mine"))["process"]["env"]
    assert env == ["PATH=/image", "HOSTNAME=mine", "A=2", "C=1", "HOME=/mine"]


def test_what_counts_the_heat_of_cpus_is_masked(tmp_path: Path) -> None:
    for name in ("cpu0/thermal_throttle", "cpu1/cache", "cpu10/thermal_throttle", "cpufreq/thermal_throttle"):
        (tmp_path / name).mkdir(parents=True)
    assert thermal_counters(str(tmp_path)) == [
        "/sys/devices/system/cpu/cpu0/thermal_throttle",
        "/sys/devices/system/cpu/cpu10/thermal_throttle",
    ]
    assert set(config_of()["linux"]["maskedPaths"]) >= set(thermal_counters())
