"""Archives are loaded into the store: every layout, and how the images are found."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zstandard
from loading import BASE, TOP, everything, load_bytes, load_members, names, top_file
from support.image_archives import (
    COMPRESSORS,
    add_blob,
    config,
    digest,
    docker_25_archive,
    docker_archive,
    entry,
    files,
    oci_layout,
    oci_manifest,
    skopeo_dir,
    tar,
    write_directory,
)

from minirun.errors import MinirunError
from minirun.model.image import Layer
from minirun.model.layout import Layout
from minirun.storage import images
from minirun.storage.archive.load import load
from minirun.storage.store import remove_image

if TYPE_CHECKING:
    pass

CHECKOUT = Path(__file__).resolve().parents[2]


# -- layouts -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("compression", COMPRESSORS)
def test_docker_archive(layout: Layout, tmp_path: Path, compression: str) -> None:
    members = docker_archive([BASE, TOP], "app:1", "app:2", compression=compression, Env=["A=b"], User="www")
    [loaded] = load_members(layout, members, tmp_path)
    assert names([loaded]) == [["app:1", "app:2"]]
    assert loaded.image.id == digest(config([BASE, TOP], Env=["A=b"], User="www"))
    assert images.find(layout, "app:2") == loaded.image == images.find(layout, loaded.image.id[7:19])
    assert (loaded.image.config.cmd, loaded.image.config.user) == (("/bin/sh",), "www")
    assert [layer.diff_id for layer in loaded.image.layers] == [digest(BASE), digest(TOP)]
    assert top_file(layout, loaded, "etc/os") == b"top"
    assert loaded.image.size == len("base") + len("x") + len("top")


def test_docker_archive_whose_layers_are_links_and_come_last(layout: Layout, tmp_path: Path) -> None:
    members = docker_archive([BASE], "app")
    [layer] = [name for name in members if name.endswith("layer.tar")]
    entries = [entry(name, data) for name, data in members.items() if name not in (layer, "manifest.json")]
    manifest = json.loads(members["manifest.json"])
    manifest[0]["Layers"] = ["other/layer.tar"]
    entries += [
        entry("manifest.json", json.dumps(manifest).encode()),
        entry("other/layer.tar", kind=tarfile.SYMTYPE, linkname=f"../{layer}"),
        entry(layer, BASE),
    ]
    [loaded] = load_bytes(layout, tar(*entries), tmp_path)
    assert top_file(layout, loaded, "etc/os") == b"base"


@pytest.mark.parametrize(
    "members",
    [
        docker_25_archive([BASE, TOP], "app:1"),
        oci_layout([BASE, TOP], "app:1"),
        oci_layout([BASE, TOP], "docker.io/library/app:1", "zstd", "io.containerd.image.name"),
        oci_layout([BASE, TOP], "app:1", ""),
    ],
    ids=["docker-25", "oci-gzip", "oci-zstd", "oci-plain"],
)
def test_oci_layouts(layout: Layout, tmp_path: Path, members: dict[str, bytes]) -> None:
    [loaded] = load_members(layout, members, tmp_path)
    assert names([loaded]) == [["app:1"]]
    assert top_file(layout, loaded, "etc/os") == b"top"
    [again] = list(load(layout, str(write_directory(members, tmp_path / "directory"))))
    assert again.image.id == loaded.image.id


def test_skopeos_directory(layout: Layout, tmp_path: Path) -> None:
    [loaded] = list(load(layout, str(write_directory(skopeo_dir([BASE, TOP]), tmp_path / "directory"))))
    assert names([loaded]) == [[]]
    assert top_file(layout, loaded, "etc/os") == b"top"


def test_of_several_platforms_the_hosts_is_taken(layout: Layout, tmp_path: Path) -> None:
    members: dict[str, bytes] = {"oci-layout": b"{}"}
    foreign = oci_manifest(members, [BASE], "gzip") | {"platform": {"os": "linux", "architecture": "s390x"}}
    attestation = oci_manifest(members, [], "gzip") | {"platform": {"os": "unknown", "architecture": "unknown"}}
    own = oci_manifest(members, [TOP], "gzip") | {"platform": {"os": "linux", "architecture": "amd64"}}
    inner = {"schemaVersion": 2, "manifests": [foreign, attestation, own]}
    kind = "application/vnd.oci.image.index.v1+json"
    descriptor = add_blob(members, json.dumps(inner).encode(), kind)
    descriptor["annotations"] = {"org.opencontainers.image.ref.name": "many:1"}
    members["index.json"] = json.dumps({"manifests": [descriptor]}).encode()
    [loaded] = load_members(layout, members, tmp_path)
    assert [layer.diff_id for layer in loaded.image.layers] == [digest(TOP)]
    assert names([loaded]) == [["many:1"]]

    inner["manifests"] = [foreign, attestation]
    members["index.json"] = json.dumps({"manifests": [add_blob(members, json.dumps(inner).encode(), kind)]}).encode()
    with pytest.raises(MinirunError, match=r"no image for linux/amd64.*linux/s390x"):
        load_members(layout, members, tmp_path)


def test_several_images_in_one_archive_share_layers(layout: Layout, tmp_path: Path) -> None:
    one, two = docker_archive([BASE], "one"), docker_archive([BASE, TOP], "two")
    both = one | two
    both["manifest.json"] = json.dumps(json.loads(one["manifest.json"]) + json.loads(two["manifest.json"])).encode()
    loaded = load_members(layout, both, tmp_path)
    assert names(loaded) == [["one:latest"], ["two:latest"]]
    assert remove_image(layout, loaded[0].image.id) == []
    assert top_file(layout, loaded[1], "etc/os") == b"top"
    assert set(remove_image(layout, loaded[1].image.id)) == {digest(BASE), digest(TOP)}
    assert everything(layout) == []


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, zstandard.ZstdCompressor().compress, bytes])
def test_whole_archives_may_be_compressed_and_come_through_a_pipe(layout: Layout, pack: type[bytes]) -> None:
    script = "import sys; from minirun.model.layout import Layout; from minirun.storage.archive.load import load\n"
    script += "print([one.image.id for one in load(Layout(sys.argv[1], ''), '-')])"
    done = subprocess.run(
        [sys.executable, "-c", script, layout.root],
        input=pack(files(docker_archive([BASE], "app"))),
        capture_output=True,
        check=True,
        cwd=CHECKOUT,
    )
    assert digest(config([BASE])) in done.stdout.decode()
    assert images.find(layout, "app").layers[0].diff_id == digest(BASE)


def test_the_same_image_with_another_manifest_leaves_no_blob(layout: Layout, tmp_path: Path) -> None:
    for members in (oci_layout([BASE], "a"), oci_layout([BASE], "b", "zstd"), docker_archive([BASE], "c")):
        [loaded] = load_members(layout, members, tmp_path)
    zstd_manifest = json.loads(oci_layout([BASE], "b", "zstd")["index.json"])["manifests"][0]["digest"]
    assert loaded.image.manifest == zstd_manifest
    assert Path(images.blob_path(layout, zstd_manifest)).exists()
    assert len(os.listdir(f"{layout.blobs}/sha256")) == 2
    remove_image(layout, loaded.image.id)
    assert everything(layout) == []


def test_the_same_layer_twice_is_mounted_once(layout: Layout, tmp_path: Path) -> None:
    [loaded] = load_members(layout, docker_archive([BASE, TOP, BASE], "app"), tmp_path)
    shot = images.snapshot(layout, loaded.image, str(tmp_path / "container"), "/target")
    assert shot.lowers == tuple(digest(layer)[7 : 7 + images.LINK_LENGTH] for layer in (BASE, TOP))
    assert [Path(shot.directory, lower).is_dir() for lower in shot.lowers] == [True, True]


def test_127_layers_fit_into_one_page_of_mount_options(layout: Layout, tmp_path: Path) -> None:
    layers = [files({f"file{number}": b"x"}) for number in range(127)]
    [loaded] = load_members(layout, docker_archive(layers, "deep"), tmp_path)
    container = "/var/lib/minirun/containers/" + "0" * 64
    shot = images.snapshot(layout, loaded.image, str(tmp_path / "container"), "/target")
    options = f"lowerdir={':'.join(shot.lowers)},upperdir={container}/upper,workdir={container}/work"
    assert len(options) < 4096
    with pytest.raises(MinirunError, match="128 layers"):
        images.snapshot(
            layout, loaded.image.replace(layers=(*loaded.image.layers, Layer("sha256:" + "f" * 64))), "", ""
        )


# -- other people's programs -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci", "dir"])
def test_what_skopeo_writes(layout: Layout, tmp_path: Path, form: str) -> None:
    source = write_directory(oci_layout([BASE, TOP], "app:1"), tmp_path / "source")
    target = tmp_path / "target"
    name = "" if form == "dir" else ":example.com/some/app:2"
    subprocess.run(
        ["skopeo", "--insecure-policy", "copy", "-q", f"oci:{source}:app:1", f"{form}:{target}{name}"], check=True
    )
    [loaded] = list(load(layout, str(target)))
    assert names([loaded]) == [[] if form == "dir" else ["example.com/some/app:2"]]
    assert top_file(layout, loaded, "etc/os") == b"top"


# -- finding -----------------------------------------------------------------------------------------------------------
def test_names_ids_and_beginnings_of_ids(layout: Layout, tmp_path: Path) -> None:
    [one] = load_members(layout, docker_archive([BASE], "one"), tmp_path)
    [two] = load_members(layout, docker_archive([TOP], "two"), tmp_path)
    for text in ("one", "one:latest", "docker.io/library/one", one.image.id, one.image.id[7:], one.image.id[:20]):
        assert images.find(layout, text) == one.image
    with pytest.raises(MinirunError, match="No such image: three:latest"):
        images.find(layout, "three")
    with pytest.raises(MinirunError, match="No such image"):
        images.find(layout, "sha256:" + "0" * 64)
    with pytest.raises(MinirunError, match="invalid reference"):
        images.find(layout, "One")
    # A name that looks like the beginning of another image's id wins, as in Docker.
    images.tag(layout, one.image.id, images.ImageRef.parse(two.image.id[7:19]))
    assert images.find(layout, two.image.id[7:19]) == one.image


def test_loading_a_name_again_moves_it(layout: Layout, tmp_path: Path) -> None:
    [old] = load_members(layout, docker_archive([BASE], "app"), tmp_path)
    [new] = load_members(layout, docker_archive([TOP], "app"), tmp_path)
    assert images.find(layout, "app") == new.image
    assert images.names_of(layout, old.image.id) == []
    assert images.find(layout, old.image.id) == old.image
