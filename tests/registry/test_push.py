"""`push` to Debian's docker-registry, and to one that misbehaves."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.eventually import eventually
from support.fake_registry import FakeRegistry
from support.image_archives import digest, docker_archive, entry, files, oci_layout, tar
from support.serving import Store
from support.uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.commands import Minirun
    from support.fake_registry import Handler
    from support.host import Host

PLACE = "127.0.0.1:5444"
CONF = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {place}/data}}}}
http: {{addr: 127.0.0.1:5444}}
"""
LAYERS = [tar(entry(f"{number}/x", b"some text. " * 20000), entry(f"{number}/y", b"y")) for number in range(4)]


@pytest.fixture
def store(minirun: Minirun, tmp_path: Path) -> Store:
    store = Store(minirun, tmp_path / "root")
    store.load_archive(docker_archive(LAYERS, f"{PLACE}/class/one:1"))
    return store


@pytest.fixture
def registry(host: Host, tmp_path: Path) -> Iterator[None]:  # noqa: ARG001 - its network is the test's own
    (tmp_path / "conf.yml").write_text(CONF.format(place=tmp_path))
    server = subprocess.Popen(["docker-registry", "serve", str(tmp_path / "conf.yml")], stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: _answers(f"http://{PLACE}/v2/"))
        yield
    finally:
        server.kill()
        server.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except OSError:
        return False


def inspected(name: str) -> tuple[str, dict[str, Any]]:
    """What skopeo says of an image: its digest, and its manifest."""
    command = ["skopeo", "inspect", "--tls-verify=false", f"docker://{name}"]
    document = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    raw = subprocess.run([*command, "--raw"], check=True, capture_output=True).stdout
    assert document["Digest"] == digest(raw)
    return document["Digest"], json.loads(raw)


@pytest.mark.usefixtures("registry")
def test_only_what_is_missing_is_pushed(store: Store, minirun: Minirun, tmp_path: Path) -> None:
    name = f"{PLACE}/class/one"
    ids = [digest(layer)[7:19] for layer in LAYERS]
    out = store("push", f"{name}:1").splitlines()
    stated, manifest = inspected(f"{name}:1")
    assert out[0] == f"The push refers to repository [{name}]"
    assert out[-1] == f"1: digest: {stated} size: {len(json.dumps(manifest, separators=(',', ':')))}"
    assert sorted(out[1:-1]) == sorted(f"{one}: {words}" for one in ids for words in ("Preparing", "Pushed"))
    assert {layer["mediaType"][-9:] for layer in manifest["layers"]} == {".tar+gzip"}
    assert json.loads(store("image", "inspect", "--format", "{{json .RepoDigests}}", f"{name}:1")) == [
        f"{name}@{stated}"
    ]
    assert store("push", f"{name}:1").count("Layer already exists") == len(ids)

    store("tag", f"{name}:1", f"{PLACE}/other")
    out_of_other = store("push", f"{PLACE}/other").splitlines()
    assert out_of_other[0] == "Using default tag: latest"
    assert sum(line.endswith("Mounted from class/one") for line in out_of_other) == len(ids)
    assert inspected(f"{PLACE}/other:latest")[0] == stated

    # Another store makes the same bytes.
    other = Store(minirun, tmp_path / "second")
    other.load_archive(docker_archive(LAYERS, f"{PLACE}/third:1"))
    assert other("push", "-q", f"{PLACE}/third:1") == f"{PLACE}/third:1\n"
    assert inspected(f"{PLACE}/third:1")[0] == stated
    other("pull", "-q", f"{name}:1")
    assert other("images", "-q", f"{name}:1") == store("images", "-q", f"{name}:1")


@pytest.mark.usefixtures("registry")
def test_all_tags_and_zstd(store: Store) -> None:
    name = f"{PLACE}/class/one"
    store.load_archive(docker_archive(LAYERS[:1], f"{name}:2"))
    out = store("push", "--compression=zstd", "--all-tags", name).splitlines()
    for tag in ("1", "2"):
        stated, manifest = inspected(f"{name}:{tag}")
        assert {layer["mediaType"][-9:] for layer in manifest["layers"]} == {".tar+zstd"}
        assert sum(line.startswith(f"{tag}: digest: {stated} size: ") for line in out) == 1
    store("rmi", f"{name}:1", f"{name}:2")
    assert store("pull", "-q", f"{name}:1") == f"{name}:1\n", "what was pushed is checked when it comes back"


@pytest.mark.usefixtures("registry")
def test_the_manifest_that_an_image_came_with_is_kept_where_its_layers_are(store: Store, tmp_path: Path) -> None:
    members = oci_layout(LAYERS[:2], f"{PLACE}/theirs:1")
    (tmp_path / "theirs.tar").write_bytes(files(members))
    [entry_of_index] = json.loads(members["index.json"])["manifests"]
    store.load_archive(members)
    store("push", f"{PLACE}/theirs:1")
    assert inspected(f"{PLACE}/theirs:1")[0] != entry_of_index["digest"], "nobody has these blobs"
    copy = ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]
    subprocess.run([*copy, f"oci-archive:{tmp_path}/theirs.tar", f"docker://{PLACE}/theirs:2"], check=True)
    store("push", f"{PLACE}/theirs:1")
    assert inspected(f"{PLACE}/theirs:1")[0] == entry_of_index["digest"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "An image does not exist locally with the tag: nothing"),
        (["-a", "nothing"], "An image does not exist locally with the tag: nothing"),
        ([f"{PLACE}/class/one:7"], f"tag does not exist: {PLACE}/class/one:7"),
        (["-a", f"{PLACE}/class/one:1"], "tag can't be used with --all-tags/-a"),
        ([f"{PLACE}/class/one@sha256:{'0' * 64}"], "cannot push a digest reference"),
        ([f"{PLACE}/class/one:1"], "connection refused"),
    ],
)
def test_mistakes(store: Store, host: Host, arguments: list[str], message: str) -> None:  # noqa: ARG001
    assert message in store("push", *arguments, code=1)


@pytest.fixture
def broken(host: Host) -> Iterator[FakeRegistry]:  # noqa: ARG001
    fake = FakeRegistry()
    Uploads(fake)
    yield fake
    fake.close()


def test_a_broken_upload_is_tried_again(store: Store, broken: FakeRegistry) -> None:
    broken_parts = [2]

    def cut(handler: Handler) -> bool:
        if handler.command != "PATCH" or not broken_parts[0]:
            return False
        broken_parts[0] -= 1
        handler.connection.close() if broken_parts[0] else handler.error(503, "")
        handler.close_connection = True
        return True

    broken.faults.insert(0, cut)
    store("tag", f"{PLACE}/class/one:1", f"{broken.host}/a:1")
    store("push", f"{broken.host}/a:1")
    manifest = json.loads(broken.manifests["1"][1])
    for layer in manifest["layers"]:
        assert len(broken.blobs[layer["digest"]]) == layer["size"]
    store("rmi", f"{broken.host}/a:1", f"{PLACE}/class/one:1")
    store("pull", f"{broken.host}/a:1")


def test_a_refusal_is_one_sentence(store: Store, broken: FakeRegistry) -> None:
    def deny(handler: Handler) -> bool:
        if handler.command == "POST":
            handler.error(403, "DENIED", "requested access to the resource is denied")
        return handler.command == "POST"

    broken.faults.insert(0, deny)
    store("tag", f"{PLACE}/class/one:1", f"{broken.host}/a:1")
    assert store("push", f"{broken.host}/a:1", code=1).startswith(
        "minirun: denied: requested access to the resource is denied.\n"
    )
    assert json.loads(store("image", "inspect", "--format", "{{json .RepoDigests}}", f"{broken.host}/a:1")) == []


def test_ctrl_c_ends_a_push(store: Store, broken: FakeRegistry, minirun: Minirun) -> None:
    def stall(handler: Handler) -> bool:
        if handler.command == "PATCH":
            stalled.append(handler)
            handler.rfile.read()  # until the client goes
            handler.close_connection = True
        return handler.command == "PATCH"

    stalled: list[Handler] = []
    broken.faults.insert(0, stall)
    store("tag", f"{PLACE}/class/one:1", f"{broken.host}/a:1")
    process = minirun.start("--root", store.root, "push", f"{broken.host}/a:1", stdin=subprocess.DEVNULL)
    eventually(lambda: stalled)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert list((store.root / "ingest").iterdir()) == []


def test_a_damaged_layer_is_named(store: Store, broken: FakeRegistry) -> None:
    store("tag", f"{PLACE}/class/one:1", f"{broken.host}/a:1")
    for path in store.root.glob("layers/*/diff/0/y"):
        path.write_bytes(b"")
    assert "is damaged: it is shorter than it was" in store("push", f"{broken.host}/a:1", code=1)
