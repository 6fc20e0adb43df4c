"""minirun-oci on a hybrid host: cgroups in the hierarchies whose controllers cgroup v2 lacks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.eventually import eventually
from support.oci_bundles import MountPoint, sleeper, v1_hierarchies

if TYPE_CHECKING:
    from support.oci_bundles import Bundle, Oci

HIERARCHIES = v1_hierarchies()
NEEDED = {"memory", "cpu", "cpuacct", "cpuset", "pids", "blkio", "devices", "freezer"}
pytestmark = pytest.mark.skipif(not set(HIERARCHIES) >= NEEDED, reason="not a hybrid host")
MEGABYTE = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Return a cgroupsPath that is this test's own, in a parent that must go, too."""
    return f"/minirun/{os.getpid()}-{tmp_path.name}"


def directory(controller: str, path: str) -> Path:
    return HIERARCHIES[controller] / path.strip("/")


def text(controller: str, path: str, name: str) -> str:
    return (directory(controller, path) / name).read_text().strip()


def left_over(path: str) -> list[Path]:
    return [place for controller in NEEDED if (place := directory(controller, path)).exists()]


@pytest.mark.parametrize(
    ("resources", "controller", "files"),
    [
        ({"memory": {"limit": 64 * MEGABYTE}}, "memory", {"memory.limit_in_bytes": "67108864"}),
        (
            {"memory": {"limit": 64 * MEGABYTE, "swap": 128 * MEGABYTE}},
            "memory",
            {"memory.limit_in_bytes": "67108864", "memory.memsw.limit_in_bytes": "134217728"},
        ),
        ({"memory": {"reservation": MEGABYTE}}, "memory", {"memory.soft_limit_in_bytes": "1048576"}),
        ({"memory": {"kernelTCP": MEGABYTE}}, "memory", {"memory.kmem.tcp.limit_in_bytes": "1048576"}),
        ({"memory": {"swappiness": 7, "useHierarchy": True}}, "memory", {"memory.swappiness": "7"}),
        ({"cpu": {"shares": 200}}, "cpu", {"cpu.shares": "200"}),
        (
            {"cpu": {"quota": 20000, "period": 50000}},
            "cpu",
            {"cpu.cfs_quota_us": "20000", "cpu.cfs_period_us": "50000"},
        ),
        ({"cpu": {"quota": 20000, "burst": 10000}}, "cpu", {"cpu.cfs_burst_us": "10000"}),
        ({"cpu": {"idle": 1, "shares": 512}}, "cpu", {"cpu.idle": "1"}),
        ({"cpu": {"cpus": "0", "mems": "0"}}, "cpuset", {"cpuset.cpus": "0", "cpuset.mems": "0"}),
        ({"pids": {"limit": 11}}, "pids", {"pids.max": "11"}),
        ({"pids": {"limit": -1}}, "pids", {"pids.max": "max"}),
        ({}, "cpuset", {"cpuset.mems": "0"}),
    ],
)
def test_limits_are_set(
    oci: Oci, bundle: Bundle, path: str, resources: dict[str, Any], controller: str, files: dict[str, str]
) -> None:
    bundle.command("exec sleep 100").limit(resources).cgroup(path)
    oci.launch(bundle, "limited")
    assert {name: text(controller, path, name) for name in files} == files
    assert text(controller, path, "cgroup.procs") == str(oci.pid("limited"))


def test_the_oom_killer_can_be_disabled(oci: Oci, bundle: Bundle, path: str) -> None:
    bundle.command("exec sleep 100").limit({"memory": {"disableOOMKiller": True}}).cgroup(path)
    oci.launch(bundle, "limited")
    assert "oom_kill_disable 1" in text("memory", path, "memory.oom_control")


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"memory": {"limit": 64 * MEGABYTE, "swap": 32 * MEGABYTE}}, "linux.resources.memory.swap"),
        ({"memory": {"swappiness": 101}}, "linux.resources.memory.swappiness"),
        ({"cpu": {"shares": 1}}, "the minimum allowed cpu-shares is 2"),
        ({"cpu": {"shares": 300000}}, "the maximum allowed cpu-shares is 262144"),
        ({"cpu": {"cpus": "4000"}}, "linux.resources.cpu.cpus"),
        ({"cpu": {"quota": 5}}, "linux.resources.cpu.quota"),
        ({"blockIO": {"weight": 5}}, "linux.resources.blockIO.weight"),
        ({"unified": {"memory.max": "1000000"}}, "linux.resources.unified.memory.max: invalid configuration"),
    ],
)
def test_refused_limits_name_the_field(
    oci: Oci, bundle: Bundle, path: str, resources: dict[str, Any], words: str
) -> None:
    bundle.command("true").limit(resources).cgroup(path)
    done = oci.run(bundle, name="refused", check=False)
    assert done.returncode != 0
    assert words in done.stderr
    assert left_over(path) == []


def test_the_limit_on_processes_holds(oci: Oci, bundle: Bundle) -> None:
    bundle.command("sleep 1 & sleep 1 & sleep 1 & echo done").limit({"pids": {"limit": 2}})
    done = oci.run(bundle, name="forks", check=False)
    assert "can't fork" in done.stderr


def test_a_process_that_takes_too_much_memory_is_killed(oci: Oci, bundle: Bundle, path: str) -> None:
    bundle.command("x=0123456789; while :; do x=$x$x; done").limit({"memory": {"limit": 16 * MEGABYTE}}).cgroup(path)
    assert oci.run(bundle, name="greedy", check=False).returncode == 137


def test_the_list_of_devices(oci: Oci, bundle: Bundle, path: str) -> None:
    rules = [{"allow": False}, {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}]
    bundle.command("exec sleep 100").cgroup(path).limit({"devices": rules})
    oci.launch(bundle, "listed")
    assert {"c 10:229 rw", "c 1:3 rwm"} < set(text("devices", path, "devices.list").splitlines())
    rules[1]["minor"] = 200
    oci("update", "--resources", "-", "listed", input=json.dumps({"devices": rules}))
    assert "c 10:200 rw" in text("devices", path, "devices.list").splitlines()


def test_every_hierarchy_is_joined_and_left(oci: Oci, bundle: Bundle, path: str) -> None:
    bundle.command("exec sleep 100").cgroup(path)
    oci.launch(bundle, "joined")
    pid = oci.pid("joined")
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    paths = {line.split(":")[1]: line.split(":", 2)[2] for line in lines}
    assert {names: found for names, found in paths.items() if not names.startswith("name=")} == {
        names: path for names in paths if not names.startswith("name=")
    }
    oci("delete", "--force", "joined")
    assert left_over(path) == []


def test_a_path_that_is_relative_is_below_the_callers_own(oci: Oci, bundle: Bundle, path: str) -> None:
    caller = {line.split(":")[1]: line.split(":", 2)[2] for line in Path("/proc/self/cgroup").read_text().splitlines()}
    bundle.command("exec sleep 100").cgroup(path.lstrip("/"))
    oci.launch(bundle, "relative")
    pid = oci.pid("relative")
    own = {line.split(":")[1]: line.split(":", 2)[2] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()}
    assert own["memory"] == f"{caller['memory'].rstrip('/')}{path}"


def test_exec_enters_all_of_them(oci: Oci, bundle: Bundle, path: str) -> None:
    bundle.command("exec sleep 100").cgroup(path).namespace("cgroup")
    oci.launch(bundle, "executed")
    lines = oci("exec", "executed", "cat", "/proc/self/cgroup").stdout.splitlines()
    # A place other than the container's own would show as "/..".
    paths = [line.split(":", 2)[2] for line in lines if ":name=" not in line]
    assert set(paths) == {"/"}


def test_exec_enters_those_below(oci: Oci, bundle: Bundle, path: str) -> None:
    bundle.command("exec sleep 100").cgroup(path).namespace("cgroup")
    oci.launch(bundle, "executed")
    for controller, name in (("memory", "one"), ("pids", "two")):
        (directory(controller, path) / name).mkdir()
    below = ["--cgroup", "memory:one", "--cgroup", "pids:/two"]
    seen = oci("exec", *below, "executed", "cat", "/proc/self/cgroup").stdout
    assert {"memory:/one", "pids:/two", "cpu:/"} <= {line.partition(":")[2] for line in seen.splitlines()}
    for wrong, words in (
        ("nosuch:/", "unknown controller"),
        ("../..", "bad sub cgroup path"),
        ("cpu:none", "No such file"),
    ):
        refused = oci("exec", "--cgroup", wrong, "executed", "true", check=False)
        assert refused.returncode != 0
        assert words.lower() in refused.stderr.lower()


def test_update(oci: Oci, bundle: Bundle, path: str) -> None:
    bundle.command("exec sleep 100").limit({"memory": {"limit": 64 * MEGABYTE, "swap": 64 * MEGABYTE}}).cgroup(path)
    oci.launch(bundle, "updated")

    def both() -> list[str]:
        return [text("memory", path, f"memory.{kind}limit_in_bytes") for kind in ("", "memsw.")]

    oci("update", "--memory", "128m", "--memory-swap", "256m", "updated")
    assert both() == ["134217728", "268435456"]
    oci("update", "--memory", "32m", "--memory-swap", "64m", "updated")
    assert both() == ["33554432", "67108864"]
    oci("update", "--memory", "-1", "updated")
    assert int(both()[1]) > 1 << 60
    oci("update", "--cpu-period", "100000", "--cpu-quota", "50000", "updated")
    oci("update", "--cpu-period", "1000", "--cpu-quota", "2000", "--pids-limit", "9", "updated")
    assert text("cpu", path, "cpu.cfs_period_us") == "1000"
    assert text("pids", path, "pids.max") == "9"
    oci("update", "--cpuset-cpus", "0", "--cpu-share", "77", "updated")
    assert (text("cpuset", path, "cpuset.cpus"), text("cpu", path, "cpu.shares")) == ("0", "77")


@pytest.mark.parametrize(
    ("kind", "flags", "steps"),
    [
        # What must hold between the two numbers must hold between the two writes, too.
        ("rt", ("rt-period", "rt-runtime"), [(900000, 60000), (10000, 600), (900000, 60000), (20000, 1000)]),
        ("cfs", ("period", "quota"), [(1000000, 900000), (1000, 1000), (1000000, 900000), (10000, 5000)]),
    ],
)
def test_numbers_that_bound_each_other_are_written_in_an_order_that_holds(
    oci: Oci, bundle: Bundle, path: str, kind: str, flags: tuple[str, str], steps: list[tuple[int, int]]
) -> None:
    files = {"rt": ("cpu.rt_period_us", "cpu.rt_runtime_us"), "cfs": ("cpu.cfs_period_us", "cpu.cfs_quota_us")}[kind]
    if not Path(HIERARCHIES["cpu"], files[0]).exists():
        pytest.skip("this kernel does not schedule groups in real time")
    path = f"/{path.rpartition('/')[2]}"  # without a parent, which would need the time, too
    bundle.command("exec sleep 100").cgroup(path)
    oci.launch(bundle, "scheduled")
    for numbers in steps:
        oci("update", *(f"--cpu-{flag}={number}" for flag, number in zip(flags, numbers, strict=True)), "scheduled")
        assert tuple(int(text("cpu", path, file)) for file in files) == numbers
    before = [text("cpu", path, file) for file in files]
    wrong = [f"--cpu-{flags[0]}=900000", f"--cpu-{flags[1]}=60000", "--cpuset-cpus=4000"]
    done = oci("update", *wrong, "scheduled", check=False)
    assert "linux.resources.cpu.cpus" in done.stderr
    assert [text("cpu", path, file) for file in files] == before


def test_a_failed_update_changes_nothing(oci: Oci, bundle: Bundle, path: str) -> None:
    bundle.command("exec sleep 100").limit({"memory": {"limit": 64 * MEGABYTE, "swap": 64 * MEGABYTE}}).cgroup(path)
    oci.launch(bundle, "updated")
    resources = {"memory": {"limit": 32 * MEGABYTE}, "pids": {"limit": 9}, "cpu": {"cpus": "4000"}}
    done = oci("update", "--resources", "-", "updated", input=json.dumps(resources), check=False)
    assert "linux.resources.cpu.cpus" in done.stderr
    assert text("memory", path, "memory.limit_in_bytes") == "67108864"
    assert text("pids", path, "pids.max") == "max"
    done = oci("update", "--memory", "128m", "updated", check=False)
    assert "is lower than that on memory" in done.stderr


def test_statistics_are_those_of_v1(oci: Oci, bundle: Bundle, path: str) -> None:
    resources = {"memory": {"limit": 64 * MEGABYTE}, "pids": {"limit": 5}, "cpu": {"cpus": "0"}}
    bundle.command("x=$(cat /bin/busybox | wc -c); exec sleep 100").limit(resources).cgroup(path)
    oci.launch(bundle, "counted")
    data = json.loads(oci("events", "--stats", "counted").stdout)["data"]
    assert data["memory"]["usage"]["limit"] == 64 * MEGABYTE
    assert 0 < data["memory"]["usage"]["usage"] < 64 * MEGABYTE
    assert data["memory"]["raw"]["hierarchical_memory_limit"] == 64 * MEGABYTE
    assert data["pids"]["limit"] == 5
    assert data["pids"]["current"] >= 1
    assert data["cpu"]["usage"]["total"] > 0
    assert len(data["cpu"]["usage"]["percpu"]) == os.sysconf("SC_NPROCESSORS_CONF")
    assert data["cpuset"]["cpus"] == [0]
    assert set(data["blkio"]) >= {"ioServiceBytesRecursive", "ioServicedRecursive"}


def test_a_death_for_lack_of_memory_is_told(oci: Oci, bundle: Bundle, path: str, tmp_path: Path) -> None:
    script = "while ! [ -e /go ]; do sleep 0.1; done; x=0123456789; (while :; do x=$x$x; done); exec sleep 100"
    bundle.command(script).limit({"memory": {"limit": 16 * MEGABYTE, "swap": 16 * MEGABYTE}}).cgroup(path)
    oci.launch(bundle, "greedy")
    with (
        (tmp_path / "events").open("w") as output,
        subprocess.Popen([*oci.command, "events", "--interval", "200ms", "greedy"], stdout=output) as follower,
    ):
        eventually(lambda: '"stats"' in (tmp_path / "events").read_text())
        (bundle.rootfs / "go").touch()
        eventually(lambda: '"oom"' in (tmp_path / "events").read_text())
        oci("delete", "--force", "greedy")
        assert follower.wait(20) == 0


def test_a_hierarchy_with_a_process_in_it_is_refused(oci: Oci, bundle: Bundle, path: str) -> None:
    place = directory("memory", path)
    place.mkdir(parents=True)
    with sleeper(place) as other:
        bundle.command("true").cgroup(path)
        assert "container's cgroup is not empty" in oci.run(bundle, name="intruder", check=False).stderr
        assert other.poll() is None
    eventually(lambda: not (place / "cgroup.procs").read_text())
    place.rmdir()


def test_what_was_there_before_stays(oci: Oci, bundle: Bundle, path: str) -> None:
    place = directory("memory", path)
    place.mkdir(parents=True)
    bundle.command("true").cgroup(path)
    oci.run(bundle, name="guest")
    assert left_over(path) == [place]
    assert [name for name in os.listxattr(place) if "minirun" in name] == []
    place.rmdir()


def test_what_the_container_made_below_goes_with_it(oci: Oci, bundle: Bundle, path: str) -> None:
    bundle.command("exec sleep 100").cgroup(path)
    oci.launch(bundle, "nested")
    below = directory("memory", path) / "below/deeper"
    below.mkdir(parents=True)
    with sleeper(below) as left_behind:
        oci("delete", "--force", "nested")
        assert left_behind.wait(5) == -9
    assert left_over(path) == []


def test_nothing_stays_of_a_killed_call(oci: Oci, bundle: Bundle, path: str) -> None:
    """A hook stops the creation half-way, and the call is killed."""
    hooks = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "5"]}]}
    bundle.command("true").cgroup(path).config["hooks"] = hooks
    oci.save(bundle, "")
    command = [*oci.command, "create", "--bundle", bundle.path, "cut-off"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as call:
        eventually(lambda: len(left_over(path)) == len(NEEDED) and bool(text("pids", path, "cgroup.procs")))
        call.send_signal(signal.SIGKILL)
    oci("delete", "--force", "cut-off")
    assert left_over(path) == []


def test_a_mount_shows_the_containers_own_part(oci: Oci, bundle: Bundle) -> None:
    bundle.mount("/cg", "cgroup", ["ro", "nosuid"], type="cgroup").limit({"pids": {"limit": 7}})
    bundle.namespace("cgroup")
    output = oci.output(
        bundle, "cd /cg; cat memory/cgroup.procs pids/pids.max; mkdir memory/x || cat /proc/1/mountinfo"
    )
    lines = output.splitlines()
    assert (lines[0], "7" in lines[:4]) == ("1", True)
    shown = {path: mount for path, mount in MountPoint.all_of("\n".join(lines[3:])).items() if mount.fstype == "cgroup"}
    assert {f"/cg/{controller}" for controller in NEEDED} <= set(shown)
    assert all(mount.root == "/" and mount.options >= {"ro", "nosuid"} for mount in shown.values())
