"""kill -9 of a removal at every point: after the next command the container is there as before, or gone for good."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
from support.killing import killed_at

from minirun.engine.container import bundle_lock, ending, records
from minirun.engine.shim import cleanup
from minirun.errors import MinirunError
from minirun.kernel.hostfiles import make_private
from minirun.model.container import ContainerRecord, RunRequest
from minirun.model.layout import Layout

ID = "a" * 64
# What Python reports to audit hooks (sys.addaudithook) before it asks the kernel for it.
CALLS = ("open", "os.listdir", "os.scandir", "os.mkdir", "os.rmdir", "os.remove", "os.rename", "os.symlink", "os.link")
POINTS_MAX = 500


def make_container(layout: Layout) -> None:
    make_private(layout.container(ID))
    records.claim_name(layout, "victim", ID)
    upper = Path(layout.container(ID), "upper")
    (upper / "deep" / "deeper").mkdir(parents=True)
    for place in (upper, upper / "deep", upper / "deep" / "deeper"):
        (place / "file").write_text("written by the container")
    (Path(layout.volumes) / "anonymous" / "_data").mkdir(parents=True)
    request = RunRequest("image", ("true",))
    record = ContainerRecord(ID, "victim", "image", "", ("true",), 1e9, request, anonymous_volumes=("anonymous",))
    records.save(layout, record)


def everything(layout: Layout) -> list[str]:
    """Return all files and links of containers, and all bundles."""
    found = []
    for top in (layout.containers, layout.names, layout.bundles, layout.volumes):
        for directory, directories, files in os.walk(top):
            found += [f"{directory}/{name}" for name in (*directories, *files)]
    return found


def test_removal_killed_at_every_point(tmp_path: Path) -> None:
    for point in range(1, POINTS_MAX):
        layout = Layout(str(tmp_path / str(point) / "root"), str(tmp_path / str(point) / "state"))
        make_container(layout)
        before = set(everything(layout))
        victim = [records.find(layout, "victim")]
        if not killed_at(point, CALLS, partial(ending.remove, layout, victim, anonymous_volumes=True)):
            assert point > 20
            assert everything(layout) == []
            return
        cleanup.collect(layout)
        if records.ids(layout):
            kept = {path for path in before if "/volumes/" not in path}
            assert kept == {path for path in everything(layout) if "/volumes/" not in path}, point
            assert ending.remove(layout, [records.find(layout, "victim")], anonymous_volumes=True) == {}
        assert everything(layout) == [], point
        records.claim_name(layout, "victim", "b" * 64)
    raise AssertionError("it never came to its end")


def test_a_directory_without_record_and_bundle_is_collected(tmp_path: Path) -> None:
    """It was left by an earlier version of minirun, which deleted the record first."""
    layout = Layout(str(tmp_path / "root"), str(tmp_path / "state"))
    make_container(layout)
    os.unlink(f"{layout.container(ID)}/record.json")
    cleanup.collect(layout)
    assert [path for path in everything(layout) if "/volumes/" not in path] == []


def test_a_container_that_is_being_made_is_left_alone(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path / "root"), str(tmp_path / "state"))
    claim = bundle_lock.take(layout, ID)
    assert claim is not None
    make_private(layout.container(ID))
    pid = os.fork()
    if pid == 0:
        claim.release()  # as in another process: the lock is this test's
        cleanup.collect(layout)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert os.path.isdir(layout.container(ID))
    claim.discard()
    cleanup.collect(layout)
    assert not os.path.isdir(layout.container(ID))


def test_a_name_whose_container_is_gone_can_be_taken(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path / "root"), str(tmp_path / "state"))
    make_private(layout.names)
    os.symlink(ID, f"{layout.names}/victim")
    assert records.claim_name(layout, "victim", "b" * 64) == "victim"
    make_private(layout.container("b" * 64))
    with pytest.raises(MinirunError, match="already in use"):
        records.claim_name(layout, "victim", ID)
