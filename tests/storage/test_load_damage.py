"""Archives that are damaged or hostile: every kind is refused, and nothing of it stays."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from loading import BASE, TOP, everything, load_bytes, load_members
from support.image_archives import (
    add_blob,
    config,
    digest,
    docker_archive,
    files,
    oci_layout,
    oci_manifest,
    write_directory,
)

from minirun.errors import MinirunError
from minirun.model.layout import Layout
from minirun.storage import images
from minirun.storage.archive.load import load

if TYPE_CHECKING:
    pass


def check_refused(layout: Layout, data: bytes, tmp_path: Path) -> MinirunError:
    with pytest.raises(MinirunError) as caught:
        load_bytes(layout, data, tmp_path)
    assert everything(layout) == []
    return caught.value


@pytest.mark.parametrize(
    "members", [docker_archive([BASE, TOP], "a", compression="gzip"), oci_layout([BASE, TOP], "a")]
)
def test_an_archive_that_is_cut_anywhere_is_refused(layout: Layout, tmp_path: Path, members: dict[str, bytes]) -> None:
    data = files(members)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        last = max(archive.getmembers(), key=lambda member: member.offset)
        offsets = {
            at for member in archive.getmembers() for at in (member.offset, member.offset_data, member.offset + 100)
        }
        offsets |= {member.offset_data + member.size // 2 for member in archive.getmembers()}
    for cut in sorted(offset for offset in offsets if offset < last.offset_data + last.size):
        error = check_refused(layout, data[:cut], tmp_path)
        assert "Error" not in error.message


@pytest.mark.parametrize(
    "build", [lambda: docker_archive([BASE, TOP], "a", compression="gzip"), lambda: oci_layout([BASE, TOP], "a")]
)
def test_every_damaged_blob_is_noticed(layout: Layout, tmp_path: Path, build: type[dict[str, bytes]]) -> None:
    for name in build():
        if name in ("manifest.json", "index.json", "oci-layout"):
            continue
        members = build()
        members[name] = members[name][:-3] + bytes([members[name][-3] ^ 1]) + members[name][-2:]
        check_refused(layout, files(members), tmp_path)


def test_a_layer_that_is_not_the_configs_is_refused(layout: Layout, tmp_path: Path) -> None:
    members = docker_archive([BASE], "a")
    [name] = [name for name in members if name.endswith("layer.tar")]
    members[name] = TOP
    assert "diff_id" in check_refused(layout, files(members), tmp_path).message


@pytest.mark.parametrize("missing", ["layer.tar", ".json"])
def test_a_missing_member_is_named(layout: Layout, tmp_path: Path, missing: str) -> None:
    members = {name: data for name, data in docker_archive([BASE], "a").items() if not name.endswith(missing)}
    if missing == ".json":
        members["manifest.json"] = docker_archive([BASE], "a")["manifest.json"]
    assert "missing" in check_refused(layout, files(members), tmp_path).message


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"{",
        b"[]",
        b"[1]",
        b'[{"Config": 1, "Layers": []}]',
        b"[" * 100000,
        b'[{"Config":"x","Layers":"yz"}]',
        b"null",
        b'[{"Config": "../../etc/passwd", "Layers": []}]',
        b'[{"Config":"c","Layers":[],"RepoTags":["BAD"]}]',
    ],
)
def test_a_broken_manifest_is_an_error_of_ours(layout: Layout, tmp_path: Path, manifest: bytes) -> None:
    check_refused(layout, files({"manifest.json": manifest, "c": b"{}"}), tmp_path)


@pytest.mark.parametrize(
    "index",
    [
        b"{}",
        b'{"manifests": []}',
        b'{"manifests": [{"digest": "sha256:../../../etc/passwd"}]}',
        b'{"manifests": [{"digest": "md5:00"}]}',
        b'{"manifests": 5}',
        b'{"manifests": [{"digest": 5}]}',
    ],
)
def test_a_broken_index_is_an_error_of_ours(layout: Layout, tmp_path: Path, index: bytes) -> None:
    check_refused(layout, files({"index.json": index}), tmp_path)


def test_configs_of_wrong_types_are_errors_of_ours(layout: Layout, tmp_path: Path) -> None:
    broken: list[dict[str, Any]] = [{"Env": 5}, {"Cmd": [1]}, {"User": []}, {"Labels": ["a"]}, {"Volumes": 3}]
    broken += [{"Volumes": [1]}, {"ExposedPorts": [80]}, {"Cmd": ["\ud800"]}, {"Labels": {"\udfff": ""}}]
    for settings in broken:
        check_refused(layout, files(docker_archive([BASE], "a", **settings)), tmp_path)


@pytest.mark.parametrize(
    "broken",
    [
        {"created": 5},
        {"architecture": []},
        {"author": {}},
        {"history": "abc"},
        {"history": {"a": 1}},
        {"history": [None]},
        {"history": [{"created_by": ["x"]}]},
        {"history": [{"comment": "\ud800"}]},
    ],
)
def test_a_description_of_wrong_types_is_an_error_of_ours(
    layout: Layout, tmp_path: Path, broken: dict[str, Any]
) -> None:
    document = json.loads(config([BASE])) | broken
    manifest = [{"Config": "c", "RepoTags": ["a"], "Layers": ["l"]}]
    members = {"c": json.dumps(document).encode(), "l": BASE, "manifest.json": json.dumps(manifest).encode()}
    check_refused(layout, files(members), tmp_path)


def test_an_index_that_leads_to_itself_ends(layout: Layout, tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    descriptor = oci_manifest(members, [BASE], "")
    kind = "application/vnd.oci.image.index.v1+json"
    for _ in range(20):
        descriptor = add_blob(members, json.dumps({"manifests": [descriptor]}).encode(), kind)
    members["index.json"] = json.dumps({"manifests": [descriptor]}).encode()
    assert "nested" in check_refused(layout, files(members), tmp_path).message


@pytest.mark.parametrize("data", [b"", b"not an archive at all" * 100, bytes(10240), gzip.compress(b"no tar", mtime=0)])
def test_what_is_no_archive_is_refused(layout: Layout, tmp_path: Path, data: bytes) -> None:
    check_refused(layout, data, tmp_path)


def test_a_directory_whose_links_lead_out_is_refused(layout: Layout, tmp_path: Path) -> None:
    directory = write_directory(oci_layout([BASE], "a"), tmp_path / "directory")
    index = directory / "index.json"
    (tmp_path / "index.json").write_bytes(index.read_bytes())
    index.unlink()
    index.symlink_to(tmp_path / "index.json")
    with pytest.raises(MinirunError, match=r"no index\.json"):
        list(load(layout, str(directory)))


def test_a_good_image_before_a_broken_one_stays(layout: Layout, tmp_path: Path) -> None:
    one, two = docker_archive([BASE], "one"), docker_archive([TOP], "two")
    both = one | two
    both["manifest.json"] = json.dumps(json.loads(one["manifest.json"]) + json.loads(two["manifest.json"])).encode()
    both = {name: TOP[:-2000] + bytes(2000) + b"x" * 512 if data == TOP else data for name, data in both.items()}
    with pytest.raises(MinirunError):
        load_members(layout, both, tmp_path)
    assert list(images.read_names(layout)) == ["docker.io/library/one:latest"]
    assert os.listdir(layout.ingest) == []
    assert not Path(images.layer_directory(layout, digest(TOP))).exists()
