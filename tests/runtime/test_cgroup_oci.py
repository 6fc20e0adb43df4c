"""A container's cgroup on any host, a hybrid one too: what is refused, what is enforced, and what stays behind."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from oci_bundles import Containers, mount_point, sleeper, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Host

# What dockerd 20.10 writes for `docker run` without any limit.
DOCKERS_ZEROS = {
    "devices": [{"allow": False, "access": "rwm"}],
    "memory": {"disableOOMKiller": False, "limit": 0, "reservation": 0, "swap": 0, "kernel": 0, "swappiness": None},
    "cpu": {"shares": 0, "quota": 0, "period": 0, "realtimePeriod": 0, "realtimeRuntime": 0, "cpus": "", "mems": ""},
    "pids": {"limit": 0},
    "blockIO": {"weight": 0, "weightDevice": [], "throttleReadBpsDevice": None},
    "network": {"classID": 0},
    "hugepageLimits": [],
}


@pytest.fixture
def containers(host: Host, executables: Path, tmp_path: Path) -> Iterator[Containers]:  # noqa: ARG001
    caller = Containers(executables / "minirun-oci", tmp_path)
    yield caller
    caller.close()


@pytest.fixture
def other_cgroup(tmp_path: Path) -> Iterator[Path]:
    """Return a cgroup that is there before any container; afterwards it is gone."""
    folder = mount_point() / f"there-before-{os.getpid()}-{tmp_path.name}"
    folder.mkdir()
    yield folder
    if folder.exists():
        wait_for(lambda: not (folder / "cgroup.procs").read_text())
        folder.rmdir()


def test_zeros_ask_for_nothing(containers: Containers) -> None:
    containers.configure("echo ran", DOCKERS_ZEROS)
    assert containers.run("zeros").stdout == "ran\n"


def test_an_unknown_controller_is_refused_and_nothing_stays(containers: Containers) -> None:
    containers.configure("true", {"unified": {"foo.bar": "1"}}, "/minirun/refused-unknown")
    done = containers.run("refused", check=False)
    assert done.returncode != 0
    assert "the requested cgroup controller `foo` is not available" in done.stderr
    assert not (mount_point() / "minirun/refused-unknown").exists()
    assert [name for name in os.listdir(containers.root) if not name.startswith(".")] == []


def test_a_cgroup_with_processes_is_refused_and_they_live_on(containers: Containers, other_cgroup: Path) -> None:
    with sleeper(other_cgroup) as other:
        containers.configure("true", path=f"/{other_cgroup.name}")
        done = containers.run("intruder", check=False)
        assert done.returncode != 0
        assert "container's cgroup is not empty" in done.stderr
        containers("delete", "--force", "intruder")
        assert other.poll() is None


def test_a_frozen_cgroup_is_refused(containers: Containers, other_cgroup: Path) -> None:
    (other_cgroup / "cgroup.freeze").write_text("1")
    containers.configure("true", path=f"/{other_cgroup.name}")
    done = containers.run("frozen", check=False)
    assert done.returncode != 0
    assert "frozen" in done.stderr


def test_a_cgroup_that_was_there_before_stays(containers: Containers, other_cgroup: Path) -> None:
    containers.configure("sleep 100 & exec sleep 100", path=f"/{other_cgroup.name}")
    assert containers.start("guest") == other_cgroup
    containers("delete", "--force", "guest")
    assert other_cgroup.is_dir()
    assert (other_cgroup / "cgroup.procs").read_text() == ""
    assert [name for name in os.listxattr(other_cgroup) if "minirun" in name] == []


def test_the_root_of_all_cgroups_is_refused(containers: Containers) -> None:
    containers.configure("true", path="/..")
    assert "is the root of all cgroups" in containers.run("root", check=False).stderr


def test_cgroups_that_the_container_made_go_with_it(containers: Containers) -> None:
    containers.configure("exec sleep 100", path="/minirun/with-cgroups-below")
    folder = containers.start("nested")
    (folder / "below/deeper").mkdir(parents=True)
    with sleeper(folder / "below/deeper") as left_behind:
        containers("delete", "--force", "nested")
        assert left_behind.wait(5) == -9
    assert not folder.exists()


def test_systemd_is_refused_where_it_does_not_run(containers: Containers) -> None:
    containers.configure("true", path="system.slice:minirun:test")
    done = containers.run("nosystemd", "--systemd-cgroup", check=False)
    assert done.returncode != 0
    assert "systemd does not run this machine" in done.stderr
    assert [name for name in os.listdir(containers.root) if not name.startswith(".")] == []


def test_systemds_path_is_checked(containers: Containers) -> None:
    containers.configure("true", path="/docker/abc")
    assert '"slice:prefix:name"' in containers.run("path", "--systemd-cgroup", check=False).stderr


# -- devices ----------------------------------------------------------------------------------------------------------

OPEN_LOG = "mknod /dev/log c 1 11; (: < /dev/log) 2>/dev/null && echo open || echo refused"


def allow_kernel_log(containers: Containers) -> None:
    """Give the container the capabilities to make the kernel log's device and to read it: only the rules are left."""
    path = containers.bundle / "config.json"
    spec = json.loads(path.read_text())
    capabilities = ["CAP_MKNOD", "CAP_SYSLOG"]
    spec["process"]["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), capabilities)
    path.write_text(json.dumps(spec))


@pytest.mark.parametrize(
    ("rules", "answer"),
    [
        (None, "refused"),
        ([{"allow": False, "access": "rwm"}], "refused"),
        ([{"allow": False}, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}], "open"),
        ([{"allow": False}, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "w"}], "refused"),
        ([{"allow": True}, {"allow": False, "type": "c", "major": 1}], "refused"),
        ([{"allow": True, "access": "rwm"}], "open"),
    ],
)
def test_device_rules_hold(containers: Containers, rules: list[dict[str, object]] | None, answer: str) -> None:
    containers.configure(OPEN_LOG, {"devices": rules})
    allow_kernel_log(containers)
    assert containers.run("devices").stdout == f"{answer}\n"


def test_update_replaces_device_rules(containers: Containers) -> None:
    containers.configure("mknod /dev/log c 1 11; exec sleep 100", {"devices": [{"allow": False}]})
    allow_kernel_log(containers)
    containers.start("devices")

    def answer() -> str:
        script = "(: < /dev/log) 2>/dev/null && echo open || echo refused"
        return containers("exec", "devices", "sh", "-c", script).stdout.strip()

    wait_for(lambda: "log" in containers("exec", "devices", "sh", "-c", "echo /dev/l*").stdout)
    assert answer() == "refused"
    allow = {"devices": [{"allow": False}, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rw"}]}
    containers("update", "--resources", "-", "devices", text=json.dumps(allow))
    assert answer() == "open"
    containers("update", "--resources", "-", "devices", text=json.dumps({"devices": [{"allow": False}]}))
    assert answer() == "refused"


# -- while it runs ----------------------------------------------------------------------------------------------------


def test_pause_and_resume(containers: Containers) -> None:
    containers.configure("exec sleep 100")
    folder = containers.start("pausing")
    containers("pause", "pausing")
    assert containers.state("pausing")["status"] == "paused"
    assert "frozen 1" in (folder / "cgroup.events").read_text()
    assert "paused" in containers("exec", "pausing", "true", check=False).stderr
    containers("resume", "pausing")
    assert containers.state("pausing")["status"] == "running"
    assert "frozen 0" in (folder / "cgroup.events").read_text()


def test_kill_all_sends_any_signal(containers: Containers) -> None:
    containers.configure("sleep 100 & sleep 100 & exec sleep 100")
    folder = containers.start("family")
    wait_for(lambda: len((folder / "cgroup.procs").read_text().split()) == 3)
    containers("kill", "--all", "family", "TERM")
    # The first process of a PID namespace gets only the signals that it asks for.
    wait_for(lambda: len((folder / "cgroup.procs").read_text().split()) == 1)
    assert containers.state("family")["status"] == "running"


def test_kill_all_reaches_every_process(containers: Containers) -> None:
    containers.configure("sleep 100 & sleep 100 & trap '' TERM; while true; do sleep 100; done")
    folder = containers.start("family")
    wait_for(lambda: len((folder / "cgroup.procs").read_text().split()) == 4)
    containers("kill", "--all", "family", "KILL")
    wait_for(lambda: not (folder / "cgroup.procs").read_text())
    containers("delete", "family")
    assert not folder.exists()


def test_statistics_have_what_callers_parse(containers: Containers) -> None:
    containers.configure("exec sleep 100")
    containers.start("counted")
    event = json.loads(containers("events", "--stats", "counted").stdout)
    assert (event["type"], event["id"]) == ("stats", "counted")
    data = event["data"]
    assert set(data) == {
        "cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces",
    }  # fmt: skip
    assert data["pids"]["current"] == 1
    assert set(data["cpu"]) >= {"usage", "throttling"}
    assert set(data["memory"]) >= {"cache", "usage", "swap", "kernel", "kernelTCP", "raw"}
    assert set(data["memory"]["usage"]) == {"limit", "usage", "max", "failcnt"}


def test_exec_goes_into_a_cgroup_below(containers: Containers) -> None:
    containers.configure("exec sleep 100")
    folder = containers.start("nested")
    (folder / "below").mkdir()
    seen = containers("exec", "--cgroup=/below", "nested", "cat", "/proc/self/cgroup").stdout
    assert "0::/below" in seen.splitlines()
    refused = containers("exec", "--cgroup=/../..", "nested", "true", check=False)
    assert refused.returncode != 0
    assert "is not below" in refused.stderr
