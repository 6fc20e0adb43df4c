"""`version`, `info` and completion: what they say is what the machine and the store say."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

import minirun
from minirun.cli.completing import candidates
from minirun.cli.main import COMMANDS, main
from minirun.model.layout import Layout

CALL = f"{sys.executable} -c 'from minirun.cli.entry import main; main()'"


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


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(str(tmp_path / "root"), str(tmp_path / "state"))
    os.makedirs(made.names)
    os.makedirs(made.images)
    for name, container_id in (("web", "a" * 64), ("worker", "b" * 64)):
        os.symlink(container_id, f"{made.names}/{name}")
    os.makedirs(made.bundle("b" * 64))
    Path(made.images, "names.json").write_text(json.dumps({"docker.io/library/busybox:latest": "sha256:" + "c" * 64}))
    return made


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("st",), ["start", "stats", "stop"]),
        (("rm", ""), ["web", "worker"]),
        (("rm", "we"), ["web"]),
        (("stop", "w"), ["worker"]),
        (("exec", "-it", "w"), ["worker"]),
        (("run", "--rm", "b"), ["busybox:latest"]),
        (("run", "--pid"), ["--pid", "--pids-limit"]),
        (("image", "hi"), ["history"]),
        (("explain", "p"), ["pivot_root", "ports", "procfs"]),
        (("ps", "x"), []),
    ],
)
def test_candidates(layout: Layout, words: tuple[str, ...], expected: list[str]) -> None:
    assert candidates(layout, words) == expected


def test_candidates_without_a_store_or_words() -> None:
    nowhere = Layout("/nonexistent", "/nonexistent")
    assert candidates(nowhere, ("rm", "")) == []
    assert candidates(nowhere, ("run", "")) == []
    assert candidates(nowhere, ()) == sorted(COMMANDS)


def test_bash_completes_with_the_script(layout: Layout) -> None:
    script = f"""
        minirun() {{ MINIRUN_ROOT={layout.root} MINIRUN_STATE={layout.state} {CALL} "$@"; }}
        source <(minirun completion bash)
        COMP_WORDS=(minirun rm w) COMP_CWORD=2 COMPREPLY=()
        _minirun
        echo "${{COMPREPLY[@]}}"
        complete -p minirun
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "web worker"
    assert "_minirun" in done.stdout.splitlines()[1]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script_that_asks_the_same(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert "minirun __complete -- " in output_of(capsys, "completion", shell)
