"""kill -9 at any moment: a volume is there whole or not at all, is never taken for filled when it is not, and no mount
stays.

The calls of the kernel are the clock: a process kills itself before its call number N, for each N.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.killing import killed_at

from minirun.engine.shim import cleanup
from minirun.engine.volume import filling, making, removing
from minirun.model.layout import Layout
from minirun.storage.volumes import records

if TYPE_CHECKING:
    from support.commands import Minirun

# What Python reports to audit hooks (sys.addaudithook) before it asks the kernel for it.
CALLS = ("open", "os.listdir", "os.scandir", "os.mkdir", "os.rmdir", "os.remove", "os.rename", "os.symlink", "os.chmod")
POINTS_MAX = 300


def everything(top: str) -> list[str]:
    return [f"{directory}/{name}" for directory, below, files in os.walk(top) for name in (*below, *files)]


def layout_at(path: Path) -> Layout:
    return Layout(str(path / "root"), str(path / "state"))


def test_making_is_killed_at_every_point(tmp_path: Path) -> None:
    for point in range(1, POINTS_MAX):
        layout = layout_at(tmp_path / str(point))

        def make(layout: Layout = layout) -> None:
            making.create(layout, "volume", {"k": "v"})

        killed = killed_at(point, CALLS, make)
        assert set(records.names(layout)) <= {"volume"}, "half of one is none"
        if records.exists(layout, "volume"):
            assert records.load(layout, "volume").labels == {"k": "v"}
        cleanup.collect(layout)
        assert set(os.listdir(layout.volumes) if os.path.isdir(layout.volumes) else ()) <= {"volume"}
        if not killed:
            assert point > 5
            return
        making.create(layout, "volume", {"k": "v"})
        assert records.load(layout, "volume").labels == {"k": "v"}
    pytest.fail("it never came to its end")


def test_removal_is_killed_at_every_point(tmp_path: Path) -> None:
    for point in range(1, POINTS_MAX):
        layout = layout_at(tmp_path / str(point))
        making.create(layout, "volume")
        deep = Path(records.data_directory(layout, "volume"), "deep/deeper")
        deep.mkdir(parents=True)
        (deep / "file").write_text("data")

        def remove(layout: Layout = layout) -> None:
            removing.remove(layout, "volume")

        killed = killed_at(point, CALLS, remove)
        if records.exists(layout, "volume"):
            assert (deep / "file").read_text() == "data"
        cleanup.collect(layout)
        assert everything(layout.ingest) == []
        removing.remove(layout, "volume", force=True)
        assert records.names(layout) == []
        if not killed:
            assert point > 10
            return
    pytest.fail("it never came to its end")


def test_filling_is_killed_at_every_point(tmp_path: Path) -> None:
    root = tmp_path / "image"
    (root / "data/inner").mkdir(parents=True)
    (root / "data/inner/deep").write_text("deep")
    (root / "data/first").write_text("first")
    (root / "data/second").write_text("second")
    (root / "data").chmod(0o751)
    for point in range(1, POINTS_MAX):
        volume = tmp_path / str(point)
        (volume / "_data").mkdir(parents=True)

        def fill(volume: Path = volume) -> None:
            file = os.open(root, os.O_PATH | os.O_DIRECTORY)
            filling.fill(file, "/data", str(volume / "_data"), str(volume / "_data"))
            os.close(file)

        killed = killed_at(point, CALLS, fill)
        if not (volume / "_data.filled").exists() and os.listdir(volume / "_data"):
            assert sorted(os.listdir(volume / "_data")) == ["first", "inner", "second"], "it counts as filled"
        fill()
        data = volume / "_data"
        assert sorted(os.listdir(data)) == ["first", "inner", "second"]
        assert [(data / name).read_text() for name in ("first", "second", "inner/deep")] == ["first", "second", "deep"]
        assert data.stat().st_mode & 0o7777 == 0o751
        assert os.listdir(volume) == ["_data"]
        if not killed:
            assert point > 10
            return
    pytest.fail("it never came to its end")


@pytest.mark.parametrize("victim", ["minirun", "shim"])
def test_no_mount_stays(minirun: Minirun, image: str, victim: str) -> None:
    """Killed at one after another of the operations that a container with such volumes takes."""
    before = Path("/proc/self/mountinfo").read_text()
    minirun("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m", "memory")
    words = (
        *("--explain=json", "run", "--rm", "--name=victim", "--network=none", "-v", "memory:/memory"),
        *("-v", "plain:/data", "--mount", f"type=image,src={image},dst=/image,image-subpath=data", image, "true"),
    )
    events = [json.loads(line) for line in minirun(*words).stderr.splitlines()]
    moments = [number for number, event in enumerate(events) if event["process"] == victim]
    assert len(moments) > 3
    for moment in moments[:: max(1, len(moments) // 8)]:
        minirun("volume", "rm", "-f", "plain")
        process = subprocess.Popen(
            [minirun.executable, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert process.stderr is not None
        for number, line in enumerate(process.stderr):
            event = json.loads(line)
            if number >= moment and event["process"] == victim:
                try:
                    os.kill(event["pid"], signal.SIGKILL)
                except ProcessLookupError:
                    pass  # it has ended by itself
                break
        process.stderr.close()
        process.wait(timeout=20)
        minirun("rm", "-f", "victim", check=False)
        assert minirun("ps", "-aq").stdout == ""
        assert Path("/proc/self/mountinfo").read_text() == before
        shown = minirun("run", "--rm", "--network=none", "-v", "plain:/data", image, "cat", "/data/inner/deep").stdout
        assert shown == "deep\n"
        left = set(minirun("volume", "ls", "-q").stdout.split())
        assert left == {"memory", "plain"}
