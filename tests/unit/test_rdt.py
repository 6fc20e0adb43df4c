"""Classes of service in resctrl: made, found, compared, removed. A directory stands for the file system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minirun.errors import MinirunError
from minirun.model.spec import IntelRdt
from minirun.runtime.cgroup import rdt
from minirun.runtime.cgroup.rdt import Group
from minirun.runtime.compat import update_flags

SHARES = "    L3:0=00ff;1=00ff\n    MB:0=100;1=100\n"


@pytest.fixture
def resctrl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory that stands in for the kernel's resctrl: new directories in it have files."""

    def make_directory(path: str) -> None:
        os.mkdir(path)
        for name in ("schemata", "tasks"):
            Path(path, name).write_text("")
        if "mon_groups" not in path:
            os.mkdir(f"{path}/mon_groups")

    def remove_directory(path: str) -> None:
        for directory, directories, names in os.walk(path, topdown=False):
            for name in names:
                os.unlink(f"{directory}/{name}")
            for name in directories:
                os.rmdir(f"{directory}/{name}")
        os.rmdir(path)

    def write(path: str, text: str) -> None:
        if text.startswith("L9:"):
            raise OSError(22, "Invalid argument", path)
        with open(path, "a", encoding="ascii") as file:
            file.write(text)

    top = tmp_path / "resctrl"
    make_directory(str(top))
    (top / "schemata").write_text(SHARES)
    monkeypatch.setattr(rdt, "find_mount_point", lambda: str(top))
    monkeypatch.setattr(rdt, "make_directory", make_directory)
    monkeypatch.setattr(rdt, "remove_directory", remove_directory)
    monkeypatch.setattr(rdt, "write", write)
    return top


def test_where_it_is_mounted(tmp_path: Path) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text("24 1 0:5 / /proc rw - proc proc rw\n31 24 0:27 / /mnt/rdt rw - resctrl resctrl rw\n")
    assert rdt.find_mount_point(str(mountinfo)) == "/mnt/rdt"
    mountinfo.write_text("24 1 0:5 / /proc rw - proc proc rw\n")
    with pytest.raises(MinirunError, match=r"linux\.intelRdt: no resctrl"):
        rdt.find_mount_point(str(mountinfo))


def test_a_class_of_the_containers_own(resctrl: Path) -> None:
    group = rdt.create(IntelRdt(schemata=("L3:0=f", "MB:0=20", "MB:0=30"), monitoring=True), "box")
    assert group == Group(f"{resctrl}/box", f"{resctrl}/box/mon_groups/box", True)
    assert (resctrl / "box/schemata").read_text() == "L3:0=f\nMB:0=20\nMB:0=30\n", "one after the other"
    rdt.add((group.directory, group.monitor), 4711)
    assert (resctrl / "box/tasks").read_text() == "4711"
    assert (resctrl / "box/mon_groups/box/tasks").read_text() == "4711"
    rdt.remove(group)
    assert not (resctrl / "box").exists()
    rdt.remove(group)


def test_a_class_that_is_there(resctrl: Path) -> None:
    (resctrl / "gold/mon_groups").mkdir(parents=True)
    (resctrl / "gold/schemata").write_text(SHARES)
    for lines in ((), ("L3:0=ff",), ("L3:1=0ff;0=FF", "MB:1=100")):
        group = rdt.create(IntelRdt("gold", lines), "box")
        assert group == Group(f"{resctrl}/gold")
        rdt.remove(group)
    assert (resctrl / "gold/schemata").read_text() == SHARES, "it is only compared"
    for lines in (("L3:0=f",), ("L3:2=ff",), ("L2:0=ff",), ("MB:0=10",)):
        with pytest.raises(MinirunError, match=r"linux\.intelRdt\.closID: .* another share"):
            rdt.create(IntelRdt("gold", lines), "box")


def test_a_named_class_is_made_with_schemata_only(resctrl: Path) -> None:
    with pytest.raises(MinirunError, match=r"linux\.intelRdt\.closID: there is no class of service 'silver'"):
        rdt.create(IntelRdt("silver"), "box")
    assert rdt.create(IntelRdt("silver", ("L3:0=f",)), "box") == Group(f"{resctrl}/silver", made=True)


def test_the_default_class(resctrl: Path) -> None:
    assert rdt.create(IntelRdt("/"), "box") == Group(str(resctrl))


def test_what_fails_leaves_nothing(resctrl: Path) -> None:
    with pytest.raises(MinirunError, match="L9:0=f"):
        rdt.create(IntelRdt(schemata=("L3:0=f", "L9:0=f")), "box")
    assert not (resctrl / "box").exists()


@pytest.mark.parametrize("name", [".", "..", "info", "mon_groups", "a/b", "../a", "a/", "//"])
def test_names_that_are_none(resctrl: Path, name: str) -> None:  # noqa: ARG001 - none of these may reach the real one
    with pytest.raises(MinirunError, match=r"linux\.intelRdt\.closID"):
        rdt.create(IntelRdt(name), "box")


def test_the_flags_of_update() -> None:
    flags = {"mem-bw-schema": "MB:0=20", "l3-cache-schema": "L3:0=f", "pids-limit": "7"}
    assert update_flags.schemata_of_flags(flags) == ("L3:0=f", "MB:0=20")
    assert update_flags.of_flags(flags) == {"pids": {"limit": 7}}
