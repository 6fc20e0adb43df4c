"""`save`: what it writes is read by minirun, skopeo and others, and is the same every time."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.image_archives import docker_archive, entry, files, tar

if TYPE_CHECKING:
    from support.commands import Minirun

BASE = tar(
    entry("etc/", kind=tarfile.DIRTYPE), entry("etc/base", b"base"), entry("link", kind=tarfile.SYMTYPE, linkname="etc")
)
TOP = tar(
    entry("etc/.wh.base"), entry("top", b"x" * 100_000, mtime=5), entry("again", kind=tarfile.LNKTYPE, linkname="top")
)


@pytest.fixture
def images(minirun: Minirun) -> None:
    """Two images that share a layer: saved/app:1, which is saved/app:latest, too, and saved/base:1."""
    minirun("load", input=files(docker_archive([BASE, TOP], "saved/app:1", Cmd=["sh"])))
    minirun("load", input=files(docker_archive([BASE], "saved/base:1")))
    minirun("tag", "saved/app:1", "saved/app")


def skopeo(*arguments: str) -> dict[str, object]:
    done = subprocess.run(["skopeo", "inspect", *arguments], check=True, capture_output=True, text=True)
    document: dict[str, object] = json.loads(done.stdout)
    return document


@pytest.mark.usefixtures("images")
def test_what_is_saved_is_loaded_as_it_was(minirun: Minirun, tmp_path: Path) -> None:
    minirun("save", "-o", tmp_path / "a.tar", "saved/app", "saved/base:1")
    assert minirun.raw("save", "saved/app", "saved/base:1").stdout == (tmp_path / "a.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as archive:
        names = archive.getnames()
        assert len(names) == len(set(names)) == 3 + 4 + 2, "what the images share is there once"
        for name in names:
            if name.startswith("blobs/"):
                data = archive.extractfile(name)
                assert data is not None
                assert hashlib.sha256(data.read()).hexdigest() == name.rpartition("/")[2]
    other = ("--root", tmp_path / "root", "--state", tmp_path / "state")
    told = minirun(*other, "load", "-i", tmp_path / "a.tar").stdout.splitlines()
    assert sorted(told) == [f"Loaded image: saved/{name}" for name in ("app:1", "app:latest", "base:1")]
    for name in ("saved/app:1", "saved/app:latest", "saved/base:1"):
        ids = [
            minirun(*where, "image", "inspect", "-f", "{{.Id}} {{.RootFS.Layers}}", name).stdout
            for where in ((), other)
        ]
        assert ids[0] == ids[1]


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(
    ("form", "transport"), [("docker", "docker-archive"), ("docker", "oci-archive"), ("oci", "oci-archive")]
)
def test_skopeo_reads_it(minirun: Minirun, tmp_path: Path, form: str, transport: str) -> None:
    path = tmp_path / "a.tar"
    minirun("save", "--format", form, "-o", path, "saved/app:1")
    seen = skopeo(f"{transport}:{path}")
    assert seen["Layers"] == json.loads(
        minirun("image", "inspect", "-f", "{{json .RootFS.Layers}}", "saved/app:1").stdout
    )
    subprocess.run(["skopeo", "copy", "-q", f"{transport}:{path}", f"dir:{tmp_path}/copy"], check=True)


@pytest.mark.usefixtures("images")
def test_what_cannot_be_saved_leaves_nothing(minirun: Minirun, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    for arguments in (
        ("-o", path, "saved/none"),
        ("-o", path, "saved/app:1", "saved/none:2"),
        ("-o", tmp_path / "no/x", "saved/app"),
    ):
        failed = minirun("save", *arguments, check=False)
        assert failed.returncode == 1
        assert failed.stderr.startswith(("minirun: No such image", "minirun: invalid output path"))
    assert list(tmp_path.glob("*.tar")) == []

    minirun("load", input=files(docker_archive([tar(entry("file", b"a" * 5000))], "saved/broken:1")))
    layer = minirun("image", "inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", "saved/broken:1").stdout.strip()
    Path(layer, "file").write_bytes(b"b" * 5000)
    failed = minirun("save", "-o", path, "saved/broken:1", check=False)
    assert failed.returncode != 0
    assert "is damaged: its files are not what they were" in failed.stderr
    assert "saved/broken:1" in failed.stderr
    assert list(tmp_path.glob("*.tar")) == []
    minirun("load", input=files(docker_archive([tar(entry("file", b"a" * 5000))], "saved/broken:1")))
    assert minirun("save", "-o", path, "saved/broken:1").returncode == 0
