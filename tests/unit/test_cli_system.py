"""`version` and `info`: what they say is what the machine and the store say."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from pathlib import Path

import pytest

import minirun
from minirun.cli.main import main


def output_of(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    code = main(list(args))
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert output_of(capsys, "--version") == f"minirun version {minirun.__version__}\n"
    assert output_of(capsys, "version", "-f", "{{.Version}} {{.KernelVersion}}") == (
        f"{minirun.__version__} {os.uname().release}\n"
    )
    assert json.loads(output_of(capsys, "version", "--format", "json"))["PythonVersion"] == platform.python_version()


def test_info_tells_facts_of_this_machine(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    facts = json.loads(output_of(capsys, "--root", str(tmp_path / "not yet"), "info", "--format", "json"))
    assert facts["KernelVersion"] == os.uname().release
    assert facts["RootDir"] == str(tmp_path / "not yet")
    file_system = subprocess.run(
        ["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True, check=True
    ).stdout
    assert facts["BackingFilesystem"] == {"ext2/ext3": "ext4"}.get(file_system.strip(), file_system.strip())
    if facts["CgroupVersion"] == "2":
        controllers = Path(facts["CgroupMountPoint"], "cgroup.controllers").read_text().split()
        assert set(facts["CgroupControllers"]) <= set(controllers)
        for name, why in facts.get("CgroupControllersMissing", {}).items():
            assert name not in controllers
            assert why == "not in this kernel" or os.path.isdir(why.rpartition(" ")[2])


def test_info_is_for_people(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    lines = dict(
        line.split(": ", 1) for line in output_of(capsys, "--root", str(tmp_path), "info").splitlines() if ": " in line
    )
    size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    number, unit = re.fullmatch(r"([\d.]+)([GM]iB)", lines["Total Memory"]).groups()  # type: ignore[union-attr]
    assert float(number) == pytest.approx(size / {"GiB": 2**30, "MiB": 2**20}[unit], rel=0.01)
    assert lines["Root Directory"] == str(tmp_path)
    assert lines["Rights"].startswith("root")
    mounted = Path("/proc/self/mountinfo").read_text()
    if " - cgroup2 " in mounted:
        hybrid = any(
            f"{name}" in line for line in mounted.splitlines() if " - cgroup " in line for name in ("memory", "pids")
        )
        assert lines["Cgroup Mode"] == ("hybrid" if hybrid else "unified")
        assert ("minirun-oci" in lines["Cgroup Limits"]) == hybrid


def test_info_says_what_who_is_not_root_may_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    told = output_of(capsys, "info")
    assert "Rights: those of user 1000: containers and images are for root, try sudo\n" in told
    assert "Containers:" not in told
