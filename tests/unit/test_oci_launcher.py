"""native/oci_launcher.c says the same about a container's state as Python, whatever is in state.json."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minirun.launcher.executables import write as write_executables
from minirun.runtime import state
from minirun.runtime.container_state import start_time

TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=12)
RECORDS = st.fixed_dictionaries(
    {
        "id": st.just("box"),
        "bundle": TEXT,
        "pid": st.sampled_from([0, 1, os.getpid(), 2**22 - 1]),
        "pid_start_time": st.sampled_from(["", "1", start_time(os.getpid()), start_time(1)]),
        "created": st.floats(0, 4e9),
        "cgroup": st.sampled_from(["", "/nonexistent"]),
        "annotations": st.dictionaries(TEXT, TEXT, max_size=3),
        "rootfs": TEXT,
        "unit": st.sampled_from(["", "box.scope"]),
        "hooks": st.lists(st.sampled_from(["prestart", "poststop"]), max_size=2),
        "cgroup_v1": st.dictionaries(st.sampled_from(["freezer", "cpu,cpuacct"]), st.just("/nonexistent")),
        "mounted_on_host": st.booleans(),
    }
)


class Executables:
    """minirun-oci as it is called, and its script in Python alone."""

    def __init__(self, place: Path) -> None:
        paths = [str(Path(state.__file__).parents[2]), *(path for path in sys.path if path.endswith("site-packages"))]
        write_executables(str(place / "bin"), str(place / "lib"), sys.executable, paths)
        self.launcher = place / "bin/minirun-oci"
        self.script = place / "lib/scripts/minirun-oci"
        self.root = place / "root"
        self.directory = self.root / "box"
        self.directory.mkdir(parents=True)

    def call(self, executable: Path, *words: str) -> tuple[int, str, str]:
        command = [executable, "--root", self.root, *words]
        done = subprocess.run(command, capture_output=True, check=False, text=True, stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout, done.stderr

    def break_python(self) -> None:
        """Make the script fail, so that what still works is the program's own work."""
        self.script.write_text(f"#!{sys.executable}\nraise SystemExit('Python was asked')")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Executables:
    return Executables(tmp_path_factory.mktemp("launcher"))


@pytest.fixture
def alone(tmp_path: Path) -> Executables:
    """Return executables whose Python does not work."""
    executables = Executables(tmp_path)
    executables.break_python()
    return executables


def living(**more: Any) -> dict[str, Any]:
    """Return the record of a container whose first process is this test's."""
    pid = os.getpid()
    record = {
        "id": "box",
        "bundle": "/b",
        "pid": pid,
        "pid_start_time": start_time(pid),
        "created": 1.5,
    }
    return record | {"rootfs": "/b/rootfs"} | more


@settings(max_examples=60)
@given(RECORDS, st.booleans())
def test_state_is_told_as_python_tells_it(both: Executables, record: dict[str, Any], fifo: bool) -> None:
    (both.directory / "state.json").write_text(json.dumps(record, separators=(",", ":")))
    waiting = both.directory / "exec.fifo"
    waiting.touch() if fifo else waiting.unlink(missing_ok=True)
    assert both.call(both.launcher, "state", "box") == both.call(both.script, "state", "box")


@settings(max_examples=40)
@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:\\ tfn0-e\n', max_size=40).map(str.encode))
def test_a_file_that_is_no_record_is_left_to_python(both: Executables, content: bytes) -> None:
    (both.directory / "state.json").write_bytes(content)
    assert both.call(both.launcher, "state", "box") == both.call(both.script, "state", "box")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--help",),
        ("state",),
        ("state", "other"),
        ("state", "box", "more"),
        ("state", "../box"),
        ("state", "--unknown", "box"),
        ("--unknown", "state", "box"),
        ("--log-format",),
        ("--log-format", "xml", "state", "box"),
        ("--log", "/nonexistent/log", "state", "box"),
        ("--log", "syslog:", "state", "box"),
        ("kill", "box", "NOSUCH"),
        ("kill", "box", "65"),
        ("delete", "none"),
        ("delete", "--force", "none"),
        ("start", "none"),
    ],
)
def test_what_is_wrong_is_told_by_python(both: Executables, words: tuple[str, ...]) -> None:
    (both.directory / "state.json").write_text(json.dumps(living()))
    assert both.call(both.launcher, *words) == both.call(both.script, *words)


@pytest.mark.parametrize("flags", [(), ("--log", "/dev/null", "--log-format", "json"), ("-log=/dev/null",)])
def test_the_usual_call_needs_no_python(alone: Executables, flags: tuple[str, ...]) -> None:
    (alone.directory / "state.json").write_text(json.dumps(living(annotations={"a": "ü"})))
    code, output, errors = alone.call(alone.launcher, *flags, "--systemd-cgroup", "state", "box")
    assert (code, errors) == (0, "")
    assert json.loads(output)["status"] == "running"


def test_the_log_is_made(alone: Executables, tmp_path: Path) -> None:
    (alone.directory / "state.json").write_text(json.dumps(living()))
    alone.call(alone.launcher, "--log", str(tmp_path / "log"), "state", "box")
    assert (tmp_path / "log").read_bytes() == b""


def test_another_root_in_the_environment_is_for_python(alone: Executables) -> None:
    words = [alone.launcher, "state", "box"]
    environment = {"XDG_RUNTIME_DIR": str(alone.root)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == "Python was asked\n"


def test_a_program_that_was_not_installed_says_so(tmp_path: Path) -> None:
    program = tmp_path / "launcher"
    program.write_bytes((Path(state.__file__).parents[1] / "native/bin/oci_launcher").read_bytes())
    program.chmod(0o755)
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, "not installed" in done.stderr) == (1, True)
