"""A container's cgroup on any host, a hybrid one too: what is refused, what is enforced, and what stays behind."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.eventually import eventually
from support.oci_bundles import mount_point, sleeper

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.oci_bundles import Bundle, Oci

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
def other_cgroup(tmp_path: Path) -> Iterator[Path]:
    """Return a cgroup that is there before any container; afterwards it is gone."""
    directory = mount_point() / f"there-before-{os.getpid()}-{tmp_path.name}"
    directory.mkdir()
    yield directory
    if directory.exists():
        eventually(lambda: not (directory / "cgroup.procs").read_text())
        directory.rmdir()


def test_zeros_ask_for_nothing(oci: Oci, bundle: Bundle) -> None:
    bundle.command("echo ran").limit(DOCKERS_ZEROS)
    assert oci.run(bundle).stdout == "ran\n"


def test_an_unknown_controller_is_refused_and_nothing_stays(oci: Oci, bundle: Bundle) -> None:
    bundle.command("true").limit({"unified": {"foo.bar": "1"}}).cgroup("/minirun/refused-unknown")
    done = oci.run(bundle, check=False)
    assert done.returncode != 0
    assert "the requested cgroup controller `foo` is not available" in done.stderr
    assert not (mount_point() / "minirun/refused-unknown").exists()
    assert [name for name in os.listdir(oci.root) if not name.startswith(".")] == []


def test_a_cgroup_with_processes_is_refused_and_they_live_on(oci: Oci, bundle: Bundle, other_cgroup: Path) -> None:
    with sleeper(other_cgroup) as other:
        bundle.command("true").cgroup(f"/{other_cgroup.name}")
        done = oci.run(bundle, name="intruder", check=False)
        assert done.returncode != 0
        assert "container's cgroup is not empty" in done.stderr
        oci("delete", "--force", "intruder")
        assert other.poll() is None


def test_a_frozen_cgroup_is_refused(oci: Oci, bundle: Bundle, other_cgroup: Path) -> None:
    (other_cgroup / "cgroup.freeze").write_text("1")
    bundle.command("true").cgroup(f"/{other_cgroup.name}")
    done = oci.run(bundle, check=False)
    assert done.returncode != 0
    assert "frozen" in done.stderr


def test_a_cgroup_that_was_there_before_stays(oci: Oci, bundle: Bundle, other_cgroup: Path) -> None:
    bundle.command("sleep 100 & exec sleep 100").cgroup(f"/{other_cgroup.name}")
    oci.launch(bundle, "guest")
    assert oci.cgroup("guest") == other_cgroup
    oci("delete", "--force", "guest")
    assert other_cgroup.is_dir()
    assert (other_cgroup / "cgroup.procs").read_text() == ""
    assert [name for name in os.listxattr(other_cgroup) if "minirun" in name] == []


def test_the_root_of_all_cgroups_is_refused(oci: Oci, bundle: Bundle) -> None:
    bundle.command("true").cgroup("/..")
    assert "is the root of all cgroups" in oci.run(bundle, check=False).stderr


def test_cgroups_that_the_container_made_go_with_it(oci: Oci, bundle: Bundle) -> None:
    bundle.command("exec sleep 100").cgroup("/minirun/with-cgroups-below")
    oci.launch(bundle, "nested")
    directory = oci.cgroup("nested")
    (directory / "below/deeper").mkdir(parents=True)
    with sleeper(directory / "below/deeper") as left_behind:
        oci("delete", "--force", "nested")
        assert left_behind.wait(5) == -9
    assert not directory.exists()


def test_systemd_is_refused_where_it_does_not_run(oci: Oci, bundle: Bundle) -> None:
    bundle.command("true").cgroup("system.slice:minirun:test")
    done = oci.run(bundle, "", "--systemd-cgroup", check=False)
    assert done.returncode != 0
    assert "systemd does not run this machine" in done.stderr
    assert [name for name in os.listdir(oci.root) if not name.startswith(".")] == []


def test_systemds_path_is_checked(oci: Oci, bundle: Bundle) -> None:
    bundle.command("true").cgroup("/docker/abc")
    assert '"slice:prefix:name"' in oci.run(bundle, "", "--systemd-cgroup", check=False).stderr


# -- devices ----------------------------------------------------------------------------------------------------------

OPEN_LOG = "mknod /dev/log c 1 11; (: < /dev/log) 2>/dev/null && echo open || echo refused"
READ_KERNEL_LOG = ("CAP_MKNOD", "CAP_SYSLOG")  # with these only the rules are left to refuse it


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
def test_device_rules_hold(oci: Oci, bundle: Bundle, rules: list[dict[str, object]] | None, answer: str) -> None:
    bundle.command(OPEN_LOG).limit({"devices": rules}).capabilities(*READ_KERNEL_LOG)
    assert oci.run(bundle).stdout == f"{answer}\n"


def test_update_replaces_device_rules(oci: Oci, bundle: Bundle) -> None:
    bundle.command("mknod /dev/log c 1 11; exec sleep 100").limit({"devices": [{"allow": False}]})
    bundle.capabilities(*READ_KERNEL_LOG)
    oci.launch(bundle, "devices")

    def answer() -> str:
        script = "(: < /dev/log) 2>/dev/null && echo open || echo refused"
        return oci("exec", "devices", "sh", "-c", script).stdout.strip()

    eventually(lambda: "log" in oci("exec", "devices", "sh", "-c", "echo /dev/l*").stdout)
    assert answer() == "refused"
    allow = {"devices": [{"allow": False}, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rw"}]}
    oci("update", "--resources", "-", "devices", input=json.dumps(allow))
    assert answer() == "open"
    oci("update", "--resources", "-", "devices", input=json.dumps({"devices": [{"allow": False}]}))
    assert answer() == "refused"


# -- while it runs ----------------------------------------------------------------------------------------------------


def test_pause_and_resume(oci: Oci, bundle: Bundle) -> None:
    bundle.command("exec sleep 100")
    oci.launch(bundle, "pausing")
    directory = oci.cgroup("pausing")
    oci("pause", "pausing")
    assert oci.state("pausing")["status"] == "paused"
    assert "frozen 1" in (directory / "cgroup.events").read_text()
    assert "paused" in oci("exec", "pausing", "true", check=False).stderr
    oci("resume", "pausing")
    assert oci.state("pausing")["status"] == "running"
    assert "frozen 0" in (directory / "cgroup.events").read_text()


def test_kill_all_sends_any_signal(oci: Oci, bundle: Bundle) -> None:
    bundle.command("sleep 100 & sleep 100 & exec sleep 100")
    oci.launch(bundle, "family")
    directory = oci.cgroup("family")
    eventually(lambda: len((directory / "cgroup.procs").read_text().split()) == 3)
    oci("kill", "--all", "family", "TERM")
    # The first process of a PID namespace gets only the signals that it asks for.
    eventually(lambda: len((directory / "cgroup.procs").read_text().split()) == 1)
    assert oci.state("family")["status"] == "running"


def test_kill_reaches_what_outlives_the_first_process(oci: Oci, bundle: Bundle) -> None:
    """Without a PID namespace nothing else ends with it."""
    bundle.without_namespace("pid").command("sleep 100 & exec sleep 100")
    oci.launch(bundle, "outlived")
    directory = oci.cgroup("outlived")
    eventually(lambda: len((directory / "cgroup.procs").read_text().split()) == 2)
    os.kill(oci.pid("outlived"), signal.SIGKILL)
    eventually(lambda: oci.state("outlived")["status"] == "stopped")
    assert (directory / "cgroup.procs").read_text()
    oci("kill", "outlived", "KILL")
    eventually(lambda: not (directory / "cgroup.procs").read_text())
    assert "container not running" in oci("kill", "outlived", "KILL", check=False).stderr


def test_kill_all_reaches_every_process(oci: Oci, bundle: Bundle) -> None:
    bundle.command("sleep 100 & sleep 100 & trap '' TERM; while true; do sleep 100; done")
    oci.launch(bundle, "relatives")
    directory = oci.cgroup("relatives")
    eventually(lambda: len((directory / "cgroup.procs").read_text().split()) == 4)
    oci("kill", "--all", "relatives", "KILL")
    eventually(lambda: not (directory / "cgroup.procs").read_text())
    oci("delete", "relatives")
    assert not directory.exists()


def test_statistics_have_what_callers_parse(oci: Oci, bundle: Bundle) -> None:
    bundle.command("exec sleep 100")
    oci.launch(bundle, "counted")
    event = json.loads(oci("events", "--stats", "counted").stdout)
    assert (event["type"], event["id"]) == ("stats", "counted")
    data = event["data"]
    assert set(data) == {
        "cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces",
    }  # fmt: skip
    assert data["pids"]["current"] == 1
    assert set(data["cpu"]) >= {"usage", "throttling"}
    assert set(data["memory"]) >= {"cache", "usage", "swap", "kernel", "kernelTCP", "raw"}
    assert set(data["memory"]["usage"]) == {"limit", "usage", "max", "failcnt"}


def test_exec_goes_into_a_cgroup_below(oci: Oci, bundle: Bundle) -> None:
    bundle.namespace("cgroup").command("exec sleep 100")
    oci.launch(bundle, "nested")
    directory = oci.cgroup("nested")
    (directory / "below").mkdir()
    seen = oci("exec", "--cgroup=/below", "nested", "cat", "/proc/self/cgroup").stdout
    assert "0::/below" in seen.splitlines()
    missing = oci("exec", "--cgroup=/missing", "nested", "true", check=False)
    assert missing.returncode == 255
    assert f"adding pid to {directory}/missing/cgroup.procs: no such file or directory" in missing.stderr
    refused = oci("exec", "--cgroup=/../..", "nested", "true", check=False)
    assert refused.returncode != 0
    assert "bad sub cgroup path" in refused.stderr
