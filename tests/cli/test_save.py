"""`save`: what is written, what loads it, and what it says when it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.image_archives import digest, docker_archive, entry, files, tar

from minirun.model.layout import Layout
from minirun.storage.images import layer_directory

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.commands import Minirun
    from tests.support.terminal import Terminal

BASE = tar(entry("etc/os", b"base" * 1000), entry("gone", b"x"), entry("etc/os", b"again"))
TOPS = [tar(entry(f"top{number}", b"top"), entry(".wh.gone")) for number in range(2)]


class Store:
    """A store of a test's own."""

    def __init__(self, minirun: Minirun, root: Path) -> None:
        self._minirun = minirun
        self.root = root

    def __call__(self, *arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = self._minirun("--root", self.root, *arguments, check=False)
        assert done.returncode == code, done.stderr
        return done


@pytest.fixture
def store(minirun: Minirun, tmp_path: Path) -> Store:
    store = Store(minirun, tmp_path / "root")
    for number, names in enumerate((("one:1", "one:2"), ("far.example/two:1",))):
        archive = tmp_path / "archive"
        archive.write_bytes(files(docker_archive([BASE, TOPS[number], BASE], *names, User=str(number))))
        store("load", "-q", "-i", archive)
    return store


@pytest.mark.parametrize("form", ["docker", "oci"])
def test_what_is_saved_is_loaded_again(store: Store, minirun: Minirun, tmp_path: Path, form: str) -> None:
    path = tmp_path / "saved.tar"
    store("save", "--format", form, "-o", path, "one:2", "one", "far.example/two:1", "one:1")
    assert path.stat().st_mode & 0o777 == 0o600
    with tarfile.open(path) as archive:
        contents = [archive.extractfile(member) for member in archive if member.isfile()]
        layers = [digest(file.read()) for file in contents if file and file.name]
    assert [layers.count(digest(layer)) for layer in (BASE, *TOPS)] == [1, 1, 1], "what is shared is written once"
    other = Store(minirun, tmp_path / "other")
    assert other("load", "-q", "-i", path).stdout == (
        "Loaded image: one:2\nLoaded image: one:1\nLoaded image: far.example/two:1\n"
    )
    for name in ("one:1", "far.example/two:1"):
        assert other("images", "-q", "--no-trunc", name).stdout == store("images", "-q", "--no-trunc", name).stdout
    again = tmp_path / "again.tar"
    other("image", "save", "--format", form, "-o", again, "one:2", "one:1", "far.example/two:1")
    assert again.read_bytes() == path.read_bytes(), "the same images are the same bytes"


def test_names_are_those_that_were_asked_for(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "saved.tar"
    image_id = store("images", "-q", "--no-trunc", "one:1").stdout.strip()
    for references, tags in (
        (["one"], ["one:1", "one:2"]),
        (["one:2"], ["one:2"]),
        ([image_id], None),
        ([image_id[7:19]], None),
        ([image_id, "one:1"], ["one:1"]),
    ):
        store("save", "-o", path, *references)
        with tarfile.open(path) as archive:
            file = archive.extractfile("manifest.json")
            assert file is not None
            [image] = json.load(file)
        assert image["RepoTags"] == tags


@pytest.mark.parametrize("form", ["docker", "oci"])
def test_skopeo_finds_every_image(store: Store, tmp_path: Path, form: str) -> None:
    path = tmp_path / "saved.tar"
    store("save", "--format", form, "-o", path, "one:1", "far.example/two:1")
    for name in ("one:1", "far.example/two:1"):
        sources = [f"docker-archive:{path}:{name}"]
        if form == "oci":
            full = name if "example" in name else f"docker.io/library/{name}"
            sources.append(f"oci-archive:{path}:{full}")
        for source in sources:
            command = ["skopeo", "--insecure-policy", "inspect", "--config", "--raw", source]
            config = subprocess.run(command, check=True, capture_output=True).stdout
            assert digest(config) == store("images", "-q", "--no-trunc", name).stdout.strip()
            subprocess.run(["skopeo", "--insecure-policy", "copy", source, f"dir:{tmp_path}/dir"], check=True)


def test_a_terminal_gets_no_archive(busybox_image: str, terminal: Callable[..., Terminal]) -> None:
    window = terminal("save", busybox_image)
    window.expect("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    assert window.wait() == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["one:3"], "No such image: one:3"),
        (["one:1", "nothing"], "No such image: nothing:latest"),
        (["-o", "/nowhere/file", "one"], 'invalid output path: directory "/nowhere" does not exist'),
    ],
)
def test_mistakes(store: Store, tmp_path: Path, arguments: list[str], message: str) -> None:
    if "-o" not in arguments:
        arguments = ["-o", str(tmp_path / "saved.tar"), *arguments]
    assert message in store("save", *arguments, code=1).stderr
    assert not (tmp_path / "saved.tar").exists()


def test_a_damaged_layer_is_named_and_repaired_by_the_next_load(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "saved.tar"
    path.write_text("older")
    store("tag", "far.example/two:1", "three")
    layout = Layout(str(store.root), "")
    damaged = Path(layer_directory(layout, digest(BASE)))
    (damaged / "diff/etc/os").write_text("later")
    done = store("save", "-o", path, "one:1", code=1)
    digits = store("images", "-q", "one:1").stdout.strip()
    assert f"{damaged} is damaged: the files in it are not those that came in" in done.stderr
    assert f"Load or pull the image {digits} (docker.io/library/one:1, docker.io/library/one:2) again" in done.stderr
    assert path.read_text() == "older"
    archive = tmp_path / "archive"
    archive.write_bytes(files(docker_archive([BASE, TOPS[0], BASE], "one:1", User="0")))
    store("load", "-q", "-i", archive)
    store("save", "-o", path, "one:1", "far.example/two:1")


def test_an_interrupted_save_leaves_nothing(store: Store, minirun: Minirun, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    before = sorted(os.listdir(tmp_path))
    layers = [tar(entry("large", os.urandom(1 << 20)))]
    archive = tmp_path / "archive"
    archive.write_bytes(files(docker_archive(layers, "large")))
    store("load", "-q", "-i", archive)
    saving = minirun.start("--root", store.root, "save", "-o", pipe, "large")
    with pipe.open("rb") as reader:
        reader.read(1000)  # it is in the middle of the archive now, with more than a pipe holds to come
        saving.send_signal(2)
        assert saving.wait(20) != 0
    assert sorted(os.listdir(tmp_path)) == before
    assert os.listdir(store.root / "ingest") == []
