"""systemd makes the cgroup: a scope that has the limits, and is gone with the container."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.oci_bundles import Oci, mount_point, read
from support.systemd_machine import DIRECTORY, booted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.oci_bundles import Bundle

MIB = 1 << 20


@pytest.fixture(scope="module")
def systemd() -> Iterator[tuple[str, ...]]:
    """Boot a systemd and return the command that runs others beside it."""
    with booted() as systemd:
        yield systemd


@pytest.fixture
def oci(systemd: tuple[str, ...], executables: Path, tmp_path: Path) -> Iterator[Oci]:
    caller = Oci(executables / "minirun-oci", tmp_path / "state", systemd)
    yield caller
    caller.close()


def show(systemd: tuple[str, ...], unit: str, *properties: str) -> dict[str, str]:
    command = [*systemd, "systemctl", "show", unit, "--property", ",".join(properties)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_a_scope_with_the_limits_that_update_changes(systemd: tuple[str, ...], oci: Oci, bundle: Bundle) -> None:
    resources = {
        "memory": {"limit": 32 * MIB, "swap": 48 * MIB, "reservation": 16 * MIB},
        "cpu": {"shares": 100, "quota": 500000, "period": 900000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 20},
        "unified": {"memory.high": str(30 * MIB)},
    }
    annotations = {
        "org.systemd.property.TimeoutStopUSec": "uint64 7000000",
        "org.systemd.property.CollectMode": "'inactive'",
    }
    bundle.command("exec sleep 1000").limit(resources).cgroup("lab-made.slice:minirun:one")
    bundle.config["annotations"] = annotations
    oci.launch(bundle, "one", "--systemd-cgroup")
    expected = {
        "ActiveState": "active",
        "Slice": "lab-made.slice",
        "Delegate": "yes",
        "MemoryMax": str(32 * MIB),
        "MemorySwapMax": str(16 * MIB),
        "MemoryLow": str(16 * MIB),
        "MemoryHigh": str(30 * MIB),
        "CPUWeight": "17",
        "CPUQuotaPerSecUSec": "560ms",
        "CPUQuotaPeriodUSec": "900ms",
        "AllowedCPUs": "0",
        "TasksMax": "20",
        "TimeoutStopUSec": "7s",
        "CollectMode": "inactive",
        "ControlGroup": "/lab.slice/lab-made.slice/minirun-one.scope",
    }
    assert show(systemd, "minirun-one.scope", *expected) == expected
    directory = mount_point() / DIRECTORY / "lab.slice/lab-made.slice/minirun-one.scope"
    # The placeholder has made room for the container.
    assert len(read(directory, "cgroup.procs")["cgroup.procs"].split()) == 1
    kernel = {
        "memory.max": str(32 * MIB),
        "memory.swap.max": str(16 * MIB),
        "cpu.max": "504000 900000",
        "pids.max": "20",
    }
    assert read(directory, *kernel) == kernel
    assert oci.state("one")["systemd-scope"] == "minirun-one.scope"

    oci("update", "--memory=40M", "--cpu-quota=-1", "--pids-limit=-1", "--cpu-share=4321", "one")
    changed = {"MemoryMax": str(40 * MIB), "CPUQuotaPerSecUSec": "infinity", "TasksMax": "infinity", "CPUWeight": "316"}
    wrong = oci("update", "--memory=64M", "--memory-swap=10M", "one", check=False)
    assert wrong.returncode != 0
    assert show(systemd, "minirun-one.scope", *changed) == changed
    kernel = {"memory.max": str(40 * MIB), "pids.max": "max", "cpu.weight": "316"}
    assert read(directory, *kernel) == kernel

    oci("pause", "one")
    assert oci.state("one")["status"] == "paused"
    oci("resume", "one")
    oci("delete", "--force", "one")
    assert show(systemd, "minirun-one.scope", "LoadState", "ActiveState") == {
        "LoadState": "not-found",
        "ActiveState": "inactive",
    }
    assert not directory.exists()


def test_what_fails_leaves_no_scope(systemd: tuple[str, ...], oci: Oci, bundle: Bundle) -> None:
    bundle.command("true").limit({"unified": {"memory.nonsense": "1"}}).cgroup("system.slice:minirun:two")
    done = oci.run(bundle, "", "--systemd-cgroup", name="two", check=False)
    assert done.returncode != 0
    assert "linux.resources.unified.memory.nonsense" in done.stderr
    assert show(systemd, "minirun-two.scope", "ActiveState") == {"ActiveState": "inactive"}
    assert not (mount_point() / DIRECTORY / "system.slice/minirun-two.scope").exists()


def test_a_container_that_ends_by_itself_is_removed(systemd: tuple[str, ...], oci: Oci, bundle: Bundle) -> None:
    bundle.command("exit 7")
    assert oci.run(bundle, "", "--systemd-cgroup", name="ends", check=False).returncode == 7
    assert show(systemd, "minirun-ends.scope", "ActiveState") == {"ActiveState": "inactive"}
    assert json.loads(oci("list", "--format=json").stdout) in (None, [])


def test_a_property_that_systemd_refuses(oci: Oci, bundle: Bundle) -> None:
    bundle.command("true")
    bundle.config["annotations"] = {"org.systemd.property.Nonsense": "true"}
    done = oci.run(bundle, "", "--systemd-cgroup", name="refused", check=False)
    assert done.returncode != 0
    assert "systemd refuses to start minirun-refused.scope" in done.stderr
