"""What linux.resources asks for holds: the kernel has it, enforces it, changes it and counts it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.eventually import eventually
from support.oci_bundles import mount_point, read, sleeper

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.oci_bundles import Bundle, Oci

MIB = 1 << 20


def test_every_limit_reaches_the_kernel_and_update_changes_it(oci: Oci, bundle: Bundle) -> None:
    resources = {
        "memory": {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 32 * MIB},
        "cpu": {"shares": 100, "quota": 50000, "period": 100000, "burst": 10000, "cpus": "1", "mems": "0"},
        "pids": {"limit": 17},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}],
        "unified": {"memory.high": str(60 * MIB), "memory.oom.group": "1"},
    }
    bundle.command("exec sleep 1000").limit(resources)
    oci.launch(bundle, "limited")
    directory = oci.cgroup("limited")
    expected = {
        "memory.max": str(64 * MIB),
        "memory.swap.max": str(32 * MIB),
        "memory.low": str(32 * MIB),
        "memory.high": str(60 * MIB),
        "memory.oom.group": "1",
        "cpu.weight": "17",
        "cpu.max": "50000 100000",
        "cpu.max.burst": "10000",
        "cpuset.cpus": "1",
        "cpuset.mems": "0",
        "pids.max": "17",
        "hugetlb.2MB.max": str(4 * MIB),
        "hugetlb.2MB.rsvd.max": str(4 * MIB),
    }
    assert read(directory, *expected) == expected

    for flags, changed in (
        (["--memory=80M"], {"memory.max": str(80 * MIB), "memory.swap.max": str(16 * MIB)}),
        (["--memory=50M", "--memory-swap=60M"], {"memory.max": str(50 * MIB), "memory.swap.max": str(10 * MIB)}),
        (["--memory-swap=-1", "--memory-reservation=1M"], {"memory.swap.max": "max", "memory.low": str(MIB)}),
        (["--cpu-period=50000", "--cpu-burst=0"], {"cpu.max": "50000 50000", "cpu.max.burst": "0"}),
        (["--cpu-quota=20000", "--cpu-share=262144"], {"cpu.max": "20000 50000", "cpu.weight": "10000"}),
        (["--cpu-quota=-1", "--pids-limit=-1"], {"cpu.max": "max 50000", "pids.max": "max"}),
        (["--cpuset-cpus=0-1", "--cpu-idle=1"], {"cpuset.cpus": "0-1", "cpu.idle": "1"}),
        (["--cpu-share=1024", "--memory=-1"], {"cpu.idle": "0", "cpu.weight": "100", "memory.max": "max"}),
    ):
        oci("update", *flags, "limited")
        assert read(directory, *changed) == changed, flags

    # All or nothing.
    done = oci("update", "--memory=70M", "--cpuset-cpus=99", "limited", check=False)
    assert done.returncode != 0
    assert "linux.resources.cpu.cpus" in done.stderr
    assert read(directory, "memory.max", "cpuset.cpus") == {"memory.max": "max", "cpuset.cpus": "0-1"}

    text = json.dumps({"pids": {"limit": 9}, "unified": {"memory.high": "max"}})
    oci("update", "--resources=-", "limited", input=text)
    assert read(directory, "pids.max", "memory.high") == {"pids.max": "9", "memory.high": "max"}

    data = json.loads(oci("events", "--stats", "limited").stdout)["data"]
    assert data["pids"] == {"current": 1, "limit": 9}
    assert data["memory"]["usage"]["usage"] > 0
    assert data["memory"]["raw"]["anon"] >= 0
    assert data["cpu"]["usage"]["total"] > 0
    assert data["cpuset"]["cpus"] == [0, 1]
    assert data["hugetlb"]["2MB"]["usage"] == 0


def test_counters_are_there_without_limits(oci: Oci, bundle: Bundle) -> None:
    # docker stats reads them from the cgroup of the container's pid.
    bundle.command("exec sleep 1000")
    oci.launch(bundle, "counted")
    directory = oci.cgroup("counted")
    assert int(read(directory, "memory.current")["memory.current"]) > 0
    assert read(directory, "pids.current") == {"pids.current": "1"}
    assert (directory / "io.stat").exists()


def test_a_container_has_every_controller(oci: Oci, bundle: Bundle) -> None:
    # A runtime inside it can give its containers no other controllers.
    available = read(mount_point(), "cgroup.controllers")
    bundle.command("exec sleep 1000").cgroup("/lab-parent/lab-child")
    oci.launch(bundle, "all")
    assert read(oci.cgroup("all"), "cgroup.controllers") == available
    oci("delete", "--force", "all")
    (mount_point() / "lab-parent").rmdir()


def test_no_limit_that_would_kill_at_once_if_asked_so(oci: Oci, bundle: Bundle) -> None:
    bundle.command("exec sleep 1000")
    oci.launch(bundle, "careful")
    for memory in ({"limit": 1024}, {"limit": 1024, "swap": 2048}):
        text = json.dumps({"memory": memory | {"checkBeforeUpdate": True}})
        assert "rejecting memory" in oci("update", "--resources=-", "careful", input=text, check=False).stderr
        assert read(oci.cgroup("careful"), "memory.max") == {"memory.max": "max"}
    assert oci.state("careful")["status"] == "running"


def test_an_oom_kill_is_an_event(oci: Oci, bundle: Bundle) -> None:
    eat = "while [ ! -e /go ]; do sleep 0.1; done; sh -c 'x=0123456789abcdef; while true; do x=$x$x; done'"
    bundle.command(f"{eat}; exec sleep 1000").limit({"memory": {"limit": 16 * MIB, "swap": 16 * MIB}})
    oci.launch(bundle, "eater")
    directory = oci.cgroup("eater")
    command = [*oci.command, "events", "--interval", "1h", "eater"]
    with subprocess.Popen(["timeout", "60", *command], stdout=subprocess.PIPE, text=True) as events:
        assert events.stdout
        time.sleep(2)  # until it watches; there is no sign when it does
        (bundle.rootfs / "go").touch()
        assert json.loads(events.stdout.readline()) == {"type": "oom", "id": "eater"}
        assert "oom_kill 1" in (directory / "memory.events").read_text()
        oci("kill", "eater", "KILL")
        assert events.wait(30) == 0


@pytest.mark.parametrize("namespaces", [(), ("time",), ("user",)])
def test_too_little_memory_to_begin_with(oci: Oci, bundle: Bundle, namespaces: tuple[str, ...]) -> None:
    for kind in namespaces:
        bundle.map_users() if kind == "user" else bundle.namespace(kind)
    bundle.command("true").limit({"memory": {"limit": 4096}}).cgroup("/starved")
    done = oci.run(bundle, name="starved", check=False)
    assert done.returncode == 1
    assert "container init was OOM-killed (memory limit too low?)" in done.stderr
    assert oci.containers() == []
    assert not (mount_point() / "starved").exists()


def test_no_more_processes_than_allowed(oci: Oci, bundle: Bundle) -> None:
    bundle.command("for i in 1 2 3 4 5 6; do sleep 5 & done").limit({"pids": {"limit": 4}})
    done = oci.run(bundle, name="forks", check=False)
    assert "fork" in done.stderr
    assert "Resource temporarily unavailable" in done.stderr


def test_a_quota_throttles(oci: Oci, bundle: Bundle) -> None:
    bundle.command("while true; do true; done").limit({"cpu": {"quota": 5000, "period": 100000}})
    oci.launch(bundle, "spinner")
    directory = oci.cgroup("spinner")

    def throttled() -> bool:
        statistics = dict(line.split() for line in (directory / "cpu.stat").read_text().splitlines())
        return int(statistics["nr_throttled"]) > 2

    eventually(throttled)


def test_a_slow_disk_is_slow(oci: Oci, bundle: Bundle) -> None:
    number = os.stat("/dev/vda").st_rdev
    disk = {"type": "b", "major": os.major(number), "minor": os.minor(number)}
    rates = {"major": disk["major"], "minor": disk["minor"], "rate": 2 * MIB}
    resources: dict[str, Any] = {
        "devices": [{"allow": False}, disk | {"allow": True, "access": "r"}],
        "blockIO": {"throttleReadBpsDevice": [rates], "throttleWriteIOPSDevice": [rates | {"rate": 7}]},
    }
    bundle.command("dd if=/dev/disk of=/dev/null bs=1M count=6 skip=3000 2>&1").limit(resources)
    bundle.linux["devices"] = [disk | {"path": "/dev/disk"}]
    started = time.monotonic()
    oci.run(bundle, name="reader")
    assert time.monotonic() - started > 2
    bundle.command("exec sleep 1000")
    oci.launch(bundle, "sleeper")
    directory = oci.cgroup("sleeper")
    assert (
        f"{disk['major']}:{disk['minor']} rbps={2 * MIB} wbps=max riops=max wiops=7"
        in read(directory, "io.max")["io.max"]
    )


# -- places that are not as they should be ----------------------------------------------------------------------------


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Path]:
    """Return a cgroup that a test can put into an odd state; afterwards it is gone."""
    directory = mount_point() / f"odd-{tmp_path.name}"
    directory.mkdir()
    yield directory
    (directory / "cgroup.kill").write_text("1")
    eventually(lambda: "populated 0" in (directory / "cgroup.events").read_text())
    for below, _, _ in os.walk(directory, topdown=False):
        os.rmdir(below)


def test_limits_below_processes_are_refused(oci: Oci, bundle: Bundle, parent: Path) -> None:
    with sleeper(parent):
        bundle.command("true").limit({"memory": {"limit": 64 * MIB}}).cgroup(f"/{parent.name}/below")
        done = oci.run(bundle, name="inner", check=False)
        assert done.returncode != 0
        assert "processes run in that cgroup itself" in done.stderr
        assert not (parent / "below").exists()


def test_thread_mode(oci: Oci, bundle: Bundle, parent: Path) -> None:
    (parent / "threads").mkdir()
    (parent / "threads/cgroup.type").write_text("threaded")
    bundle.command("true").limit({"memory": {"limit": 64 * MIB}}).cgroup(f"/{parent.name}/below")
    done = oci.run(bundle, name="invalid", check=False)
    assert done.returncode != 0
    assert "'domain invalid'" in done.stderr or "memory controller" in done.stderr
    assert not (parent / "below").exists()


def test_exec_follows_an_init_system_into_its_cgroup(oci: Oci, bundle: Bundle) -> None:
    bundle.command("exec sleep 1000")
    oci.launch(bundle, "system")
    directory = oci.cgroup("system")
    (directory / "init.scope").mkdir()
    (directory / "init.scope/cgroup.procs").write_text(str(oci.state("system")["pid"]))
    (directory / "cgroup.subtree_control").write_text("+memory +pids")
    assert "0::/init.scope" in oci("exec", "system", "cat", "/proc/self/cgroup").stdout.splitlines()
    refused = oci("exec", "--cgroup=/", "system", "true", check=False)
    assert refused.returncode == 255
    assert "to cgroups: device or resource busy" in refused.stderr
    oci("delete", "--force", "system")
    assert not directory.exists()


def test_a_writable_cgroup_belongs_to_the_user(oci: Oci, bundle: Bundle) -> None:
    look = "cd /sys/fs/cgroup; stat -c %u . cgroup.procs memory.max; mkdir below && echo made; true"
    mount = next(entry for entry in bundle.config["mounts"] if entry["destination"] == "/sys/fs/cgroup")
    mount["options"].remove("ro")
    bundle.config["process"]["user"] = {"uid": 1001, "gid": 1001}
    assert oci.output(bundle, look).split() == ["1001", "1001", "0", "made"]
    bundle.map_users()
    bundle.config["process"]["user"] = {"uid": 0, "gid": 0}
    assert oci.output(bundle, look).split() == ["0", "0", "65534", "made"]
    mount["options"].append("ro")
    assert oci.output(bundle, look).split() == ["65534"] * 3
