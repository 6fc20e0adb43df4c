"""`pull` into the store: what a registry gives, and what it may do wrong."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest
from support.fake_registry import INDEX, MANIFEST, descriptor
from support.image_archives import COMPRESSORS, config, digest, files

from minirun.errors import MinirunError
from minirun.storage.images import all_images, layer_directory, read_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.fake_registry import FakeRegistry, Handler

    from minirun.model.layout import Layout
    from minirun.registry.pull import Pulled

LOW = files({"low": b"low" * 200_000})
HIGH = files({"high": b"high"})


def nothing_is_left(layout: Layout) -> bool:
    """Say whether the store has no image, no layer and no work in progress."""
    return not all_images(layout) and os.listdir(layout.layers) in ([], ["l"]) and not os.listdir(layout.ingest)


def test_an_image_has_two_names(layout: Layout, registry: FakeRegistry, pull: Callable[..., Pulled]) -> None:
    manifest = registry.add_image("1", [LOW, HIGH])
    pulled = pull()
    assert (pulled.fresh, pulled.digest, pulled.image.manifest) == (True, manifest, manifest)
    names = {f"{registry.host}/a:1", f"{registry.host}/a@{manifest}"}
    assert read_names(layout) == dict.fromkeys(names, pulled.image.id)
    for layer, name in ((LOW, "low"), (HIGH, "high")):
        assert os.path.exists(f"{layer_directory(layout, digest(layer))}/diff/{name}")
    registry.requests.clear()
    assert not pull().fresh
    assert registry.asked_for("/blobs/") == []


def test_a_layer_that_is_there_is_not_fetched(registry: FakeRegistry, pull: Callable[..., Pulled]) -> None:
    registry.add_image("1", [LOW])
    registry.add_image("2", [LOW, HIGH])
    pull("1")
    pull("2")
    assert len(registry.asked_for(digest(LOW))) == 1


def test_by_digest(layout: Layout, registry: FakeRegistry, pull: Callable[..., Pulled]) -> None:
    manifest = registry.add_image("1", [LOW])
    pull(f"@{manifest}")
    assert list(read_names(layout)) == [f"{registry.host}/a@{manifest}"]


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_compressed_layers(registry: FakeRegistry, pull: Callable[..., Pulled], compression: str) -> None:
    blob = COMPRESSORS[compression](LOW)
    image_config = config([LOW])
    registry.blobs |= {digest(blob): blob, digest(image_config): image_config}
    kind = f"application/vnd.oci.image.layer.v1.tar+{compression}"
    layers = [descriptor(kind, blob)]
    document = {"schemaVersion": 2, "config": descriptor("", image_config), "layers": layers}
    registry.add_manifest("1", document, MANIFEST)
    (layer,) = pull().image.layers
    assert (layer.diff_id, layer.digest, layer.size, layer.media_type) == (digest(LOW), digest(blob), len(blob), kind)


def test_the_platform_is_chosen_and_attestations_are_not(registry: FakeRegistry, pull: Callable[..., Pulled]) -> None:
    entries = []
    for tag, platform in (("x", "linux/amd64"), ("y", "linux/arm64"), ("z", "unknown/unknown")):
        registry.add_image(tag, [files({tag: b""})])
        system, architecture = platform.split("/")
        entry = descriptor(MANIFEST, registry.manifests[tag][1])
        entries.append(entry | {"platform": {"os": system, "architecture": architecture}})
    index = registry.add_manifest("1", {"schemaVersion": 2, "manifests": entries}, INDEX)
    pulled = pull(platform="linux/amd64")
    assert (pulled.digest, pulled.image.manifest) == (index, entries[0]["digest"])
    with pytest.raises(MinirunError, match="no matching manifest for linux/s390x in the manifest list entries"):
        pull(platform="linux/s390x")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"kind": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}, "foreign layers"),
        ({"artifactType": "application/vnd.example"}, r"an artifact, not an image \(application/vnd.example\)"),
        ({"schemaVersion": 1}, "schema version 1"),
        ({"sizes": [-1]}, "malformed"),
        ({"layers": "none"}, "malformed"),
    ],
    ids=["foreign", "artifact", "schema 1", "size", "layers"],
)
def test_what_is_no_image_is_refused(
    registry: FakeRegistry, pull: Callable[..., Pulled], fields: dict[str, object], sentence: str
) -> None:
    registry.add_image("1", [LOW], **fields)
    with pytest.raises(MinirunError, match=sentence):
        pull()


def test_a_broken_connection_goes_on_where_it_broke(registry: FakeRegistry, pull: Callable[..., Pulled]) -> None:
    registry.add_image("1", [LOW])
    registry.fail_once(digest(LOW), lambda handler: handler.answer(200, LOW, cut=1000))
    pull()
    assert [headers.get("Range") for headers in registry.asked_for(digest(LOW))] == [None, "bytes=1000-"]


def test_a_server_without_ranges(registry: FakeRegistry, pull: Callable[..., Pulled]) -> None:
    registry.add_image("1", [LOW])
    registry.fail_once(digest(LOW), lambda handler: handler.answer(200, LOW, cut=1000))
    registry.fail_once(digest(LOW), lambda handler: handler.answer(200, LOW))
    pull()


def _wrong_size(handler: Handler) -> None:
    handler.answer(200, LOW + b"more")


def _wrong_content(handler: Handler) -> None:
    handler.answer(200, LOW[:1000] + b"\1" + LOW[1001:])


def _cut(handler: Handler) -> None:
    handler.answer(200, LOW, cut=0)


def _busy(handler: Handler) -> None:
    handler.error(500, "UNKNOWN", "on fire")


def _redirect(handler: Handler) -> None:
    handler.answer(307, headers={"Location": f"http://{handler.headers['Host']}{handler.path}"})


def _without_tls(handler: Handler) -> None:
    handler.answer(307, headers={"Location": "ftp://nowhere/"})


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (_wrong_size, "the size of the blob is wrong"),
        (_wrong_content, "the digest of a layer is wrong|corrupt"),
        (_cut, "cut off after 0 of"),
        (_busy, "on fire"),
        (_redirect, "stopped after 10 redirects"),
        (_without_tls, "which is not HTTP"),
    ],
)
def test_what_goes_wrong_leaves_nothing(
    layout: Layout,
    registry: FakeRegistry,
    pull: Callable[..., Pulled],
    act: Callable[[Handler], None],
    sentence: str,
) -> None:
    registry.add_image("1", [HIGH, LOW])
    registry.fail_once(digest(LOW), act, times=1000)
    with pytest.raises(MinirunError, match=sentence):
        pull()
    assert nothing_is_left(layout)
    registry.faults.clear()
    assert pull().fresh


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(registry: FakeRegistry, pull: Callable[..., Pulled], status: int) -> None:
    registry.add_image("1", [LOW])
    registry.fail_once("/manifests/", lambda handler: handler.error(status, "X", headers={"Retry-After": "0"}), times=3)
    pull()
    assert len(registry.asked_for("/manifests/")) == 4


def test_a_server_that_wants_too_much_time(registry: FakeRegistry, pull: Callable[..., Pulled]) -> None:
    registry.add_image("1", [LOW])
    error = "TOOMANYREQUESTS"
    registry.fail_once("/manifests/", lambda handler: handler.error(429, error, headers={"Retry-After": "3600"}))
    with pytest.raises(MinirunError, match="toomanyrequests"):
        pull()


def test_a_missing_tag(registry: FakeRegistry, pull: Callable[..., Pulled]) -> None:
    with pytest.raises(MinirunError, match=f"^manifest for {registry.host}/a:1 not found: manifest unknown$"):
        pull()


def test_a_manifest_of_another_digest(registry: FakeRegistry, pull: Callable[..., Pulled]) -> None:
    other = registry.add_image("1", [LOW])
    wanted = registry.add_image("2", [HIGH])
    registry.manifests[wanted] = registry.manifests[other]
    with pytest.raises(MinirunError, match="the digest of the manifest is wrong"):
        pull(f"@{wanted}")


def test_two_pulls_at_once_fetch_a_layer_once(registry: FakeRegistry, pull: Callable[..., Pulled]) -> None:
    """The first is held in the middle of the layer until the second has its manifest, and so claims the same layer."""
    registry.add_image("1", [LOW])
    registry.add_image("2", [LOW, HIGH])
    second = threading.Event()
    registry.faults.append(lambda handler: "/manifests/2" in handler.path and second.set() is not None)

    def slow(handler: Handler) -> None:
        assert second.wait(10)
        handler.answer(200, LOW)

    registry.fail_once(digest(LOW), slow)
    threads = [threading.Thread(target=pull, args=(tag,)) for tag in "1"]
    threads[0].start()
    while not registry.asked_for(digest(LOW)):
        threads[0].join(0.01)
    pull("2")
    threads[0].join()
    assert len(registry.asked_for(digest(LOW))) == 1
