"""Archives into the store: every layout, every kind of damage, and what is left after each."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from image_archives import (
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
from minirun.storage.archive.load import Loaded, load
from minirun.storage.ingest import Ingest, collect_garbage
from minirun.storage.store import remove_image

if TYPE_CHECKING:
    from collections.abc import Iterable

BASE = files({"etc/os": b"base", "gone": b"x"})
TOP = tar(entry("etc/os", b"top"), entry(".wh.gone"))
CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "root"), str(tmp_path / "state"))


def load_members(layout: Layout, members: dict[str, bytes], tmp_path: Path) -> list[Loaded]:
    return load_bytes(layout, files(members), tmp_path)


def load_bytes(layout: Layout, data: bytes, tmp_path: Path) -> list[Loaded]:
    path = tmp_path / "archive"
    path.write_bytes(data)
    return list(load(layout, str(path)))


def everything(layout: Layout) -> list[str]:
    """What the store holds beside its own empty directories and its lock."""
    root = Path(layout.root)
    own = {"images/lock", "images/names.json", "reserve"}
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if (not path.is_dir() or path.parent.name == "ingest") and str(path.relative_to(root)) not in own
    )


def top_file(layout: Layout, loaded: Loaded, name: str) -> bytes:
    return Path(images.layer_directory(layout, loaded.image.layers[-1].diff_id), "diff", name).read_bytes()


def names(loaded: Iterable[Loaded]) -> list[list[str]]:
    return [[name.familiar for name in one.names] for one in loaded]


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


# -- damage ------------------------------------------------------------------------------------------------------------
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


# -- at once, and killed -----------------------------------------------------------------------------------------------
def test_loads_at_once_do_not_disturb_each_other(layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(files(docker_archive([BASE, TOP], "app")))
    script = "import sys; from minirun.model.layout import Layout; from minirun.storage.archive.load import load\n"
    script += "list(load(Layout(sys.argv[1], ''), sys.argv[2]))"
    loads = [subprocess.Popen([sys.executable, "-c", script, layout.root, path], cwd=CHECKOUT) for _ in range(6)]
    assert [process.wait(60) for process in loads] == [0] * 6
    assert os.listdir(layout.ingest) == []
    remove_image(layout, images.find(layout, "app").id)
    assert everything(layout) == []


def test_a_layer_that_a_load_relies_on_is_not_removed_under_it(layout: Layout, tmp_path: Path) -> None:
    [loaded] = load_members(layout, docker_archive([BASE], "app"), tmp_path)
    with Ingest(layout) as ingest:
        ingest.pin_layer(digest(BASE))
        assert remove_image(layout, loaded.image.id) == []
        assert Path(images.layer_directory(layout, digest(BASE))).exists()
    assert everything(layout) == []


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.1, 0.15, 0.2, 0.3])
def test_a_killed_load_leaves_nothing_after_the_next_command(layout: Layout, tmp_path: Path, delay: float) -> None:
    layers = [files({f"{number}/{i}": os.urandom(20) for i in range(700)}) for number in range(3)]
    path = tmp_path / "archive"
    path.write_bytes(files(docker_archive(layers, "app")))
    script = "import sys; from minirun.model.layout import Layout; from minirun.storage.archive.load import load\n"
    script += "print('go', flush=True); list(load(Layout(sys.argv[1], ''), sys.argv[2]))"
    process = subprocess.Popen(
        [sys.executable, "-c", script, layout.root, path], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "go\n"
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    collect_garbage(layout)
    for image in images.all_images(layout):  # the kill came after its end, or just before the name was given
        remove_image(layout, image.id)
    assert everything(layout) == []


def test_garbage_of_living_work_is_left_alone(layout: Layout) -> None:
    with Ingest(layout) as ingest:
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(collect_garbage(layout)))
        thread.start()
        thread.join()
        assert found == [0]
        assert Path(ingest.path).is_dir()
    assert os.listdir(layout.ingest) == []


def test_looking_for_garbage_is_cheap(layout: Layout, tmp_path: Path) -> None:
    load_members(layout, docker_archive([BASE], "app"), tmp_path)
    times = []
    for _ in range(20):
        started = time.perf_counter()
        assert collect_garbage(layout) == 0
        times.append(time.perf_counter() - started)
    assert min(times) < 0.001


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
