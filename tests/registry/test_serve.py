"""`registry serve`: what each path gives, and who pulls from it."""

from __future__ import annotations

import gzip
import json
import random
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.eventually import eventually
from support.fake_registry import FakeRegistry
from support.image_archives import digest, entry, oci_layout, tar
from support.serving import LAYERS, Served, Store, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.commands import Minirun
    from support.host import Host

INDEX = "application/vnd.oci.image.index.v1+json"
NAMES = ("x:1", "x:2", "x:latest", "team/web:1", "localhost/mine:1", "example.org/class/web:1", "127.0.0.1:9/port:1")


@pytest.fixture
def store(minirun: Minirun, tmp_path: Path) -> Store:
    store = Store(minirun, tmp_path / "root")
    store.load(*NAMES)
    return store


@pytest.fixture
def served(store: Store) -> Iterator[Served]:
    with serving(store) as served:
        yield served


def blobs_of(served: Served, name: str = "x") -> list[dict[str, Any]]:
    manifest = served(f"/v2/{name}/manifests/1").json
    return [manifest["config"], *manifest["layers"]]


def test_every_path(served: Served) -> None:
    assert served.said.startswith("Serving 1 image at http://127.0.0.1:")
    assert served.said.endswith(f"; pull with: minirun pull {served.place}/class/web:1\n")
    base = served("/v2/")
    assert (base.status, base.json) == (200, {})
    assert base.headers["docker-distribution-api-version"] == "registry/2.0"
    manifest = served("/v2/x/manifests/1")
    stated = digest(manifest.body)
    assert manifest.headers["docker-content-digest"] == stated
    assert manifest.headers["content-type"] == manifest.json["mediaType"]
    assert served(f"/v2/x/manifests/{stated}").body == manifest.body
    head = served("/v2/x/manifests/1", "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["content-length"]) == len(manifest.body)
    config, *layers = blobs_of(served)
    assert [layer["mediaType"][-9:] for layer in layers] == [".tar+gzip"] * len(LAYERS)
    for blob in (config, *layers):
        reply = served(f"/v2/x/blobs/{blob['digest']}")
        assert (reply.status, len(reply.body), digest(reply.body)) == (200, blob["size"], blob["digest"])
        assert reply.headers["docker-content-digest"] == blob["digest"]
        head = served(f"/v2/x/blobs/{blob['digest']}", "HEAD")
        assert (head.status, head.headers["content-length"], head.body) == (200, str(blob["size"]), b"")
    for layer, plain in zip(layers, LAYERS, strict=True):
        assert gzip.decompress(served(f"/v2/x/blobs/{layer['digest']}").body) == plain
    referrers = served(f"/v2/x/referrers/{stated}")
    assert (referrers.headers["content-type"], referrers.json["manifests"]) == (INDEX, [])


@pytest.mark.parametrize(
    "name",
    [
        *("x", "library/x", "docker.io/library/x", "team/web", "docker.io/team/web", "mine", "localhost/mine"),
        *("class/web", "example.org/class/web", "port"),
    ],
)
def test_names(served: Served, name: str) -> None:
    assert served(f"/v2/{name}/manifests/1").status == 200
    assert "1" in served(f"/v2/{name}/tags/list").json["tags"]


def test_one_name_of_several_registries(minirun: Minirun, tmp_path: Path) -> None:
    store = Store(minirun, tmp_path / "root")
    for number, name in enumerate(("b.example/a/b:1", "a.example/a/b:1", "a/b:1", "b.example/a/b:2")):
        store.load(name, layers=LAYERS[: number % 3 + 1] if number < 3 else [])
    with serving(store) as served:
        assert served("/v2/_catalog").json == {"repositories": ["a/b"]}
        assert served("/v2/a/b/tags/list").json == {"name": "a/b", "tags": ["1", "2"]}
        counts = {name: len(blobs_of(served, name)) - 1 for name in ("a/b", "a.example/a/b", "b.example/a/b")}
        assert counts == {"a/b": 3, "a.example/a/b": 2, "b.example/a/b": 1}
        store("rmi", "a/b:1")
        assert len(blobs_of(served, "a/b")) == 3


def test_lists_in_pages(served: Served) -> None:
    assert served("/v2/_catalog").json == {"repositories": ["class/web", "mine", "port", "team/web", "x"]}
    assert served("/v2/x/tags/list").json == {"name": "x", "tags": ["1", "2", "latest"]}
    for path, key, count in (("/v2/_catalog", "repositories", 5), ("/v2/x/tags/list", "tags", 3)):
        found = []
        link = f"<{path}?n=2>"
        while link:
            reply = served(link[1:].split(">")[0])
            found.append(reply.json[key])
            link = reply.headers.get("link", "")
            assert not link or link.endswith('>; rel="next"')
        assert [len(page) for page in found] == [2] * (count // 2) + [count % 2]
        assert [one for page in found for one in page] == served(path).json[key]
    assert served("/v2/x/tags/list?n=0").json["tags"] == []
    assert served("/v2/x/tags/list?last=latest").json["tags"] == []
    assert served("/v2/x/tags/list?n=x").code == "400 PAGINATION_NUMBER_INVALID"
    assert served("/v2/x/tags/list?n=-1").code == "400 PAGINATION_NUMBER_INVALID"


def test_parts_of_blobs(served: Served) -> None:
    for blob in blobs_of(served)[:2]:
        path = f"/v2/x/blobs/{blob['digest']}"
        whole, size = served(path).body, blob["size"]
        for text, begin, end in (
            *(("bytes=0-0", 0, 1), ("bytes=5-9", 5, 10), ("bytes=7-", 7, size), ("bytes=-3", size - 3, size)),
            *((f"bytes=3-{10**9}", 3, size), (f"bytes=-{10**9}", 0, size)),
        ):
            reply = served(path, Range=text)
            assert (reply.status, reply.body) == (206, whole[begin:end]), text
            assert reply.headers["content-range"] == f"bytes {begin}-{end - 1}/{size}"
            assert reply.headers["content-length"] == str(end - begin)
        for text in ("bytes=0-1,4-5", "lines=1-2", "bytes=9-3", "bytes=-", "bytes=x-", "bytes=--1", "nonsense"):
            assert (served(path, Range=text).status, served(path, Range=text).body) == (200, whole), text
        beyond = served(path, Range=f"bytes={size}-")
        assert (beyond.code, beyond.headers["content-range"]) == ("416 RANGE_INVALID", f"bytes */{size}")
        assert served(path, Range="bytes=1-2", If_Range='"other"').status == 200
        assert served(path, Range="bytes=1-2", If_Range=f'"{blob["digest"]}"').status == 206
        assert served(path, "HEAD", Range="bytes=1-2").headers["content-length"] == str(size)


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/v2/nope/manifests/1", "404 NAME_UNKNOWN"),
        ("GET", "/v2/x/manifests/9", "404 MANIFEST_UNKNOWN"),
        ("GET", f"/v2/x/manifests/{digest(b'')}", "404 MANIFEST_UNKNOWN"),
        ("GET", f"/v2/x/blobs/{digest(b'')}", "404 BLOB_UNKNOWN"),
        ("GET", "/v2/nope/tags/list", "404 NAME_UNKNOWN"),
        ("GET", "/v2/X/manifests/1", "404 NAME_INVALID"),
        ("GET", "/", "404 UNSUPPORTED"),
        ("POST", "/v2/x/blobs/uploads/", "405 UNSUPPORTED"),
        ("PUT", "/v2/x/manifests/1", "405 UNSUPPORTED"),
        ("PATCH", "/v2/x/blobs/uploads/1", "405 UNSUPPORTED"),
        ("DELETE", "/v2/x/manifests/1", "405 UNSUPPORTED"),
    ],
)
def test_refusals(served: Served, method: str, path: str, code: str) -> None:
    reply = served(path, method)
    assert reply.code == code
    assert reply.headers.get("allow") == ("GET, HEAD" if code.startswith("405") else None)


def test_minirun_pulls_and_has_the_same_image(store: Store, served: Served, minirun: Minirun, tmp_path: Path) -> None:
    other = Store(minirun, tmp_path / "second")
    other("pull", f"{served.place}/x:1")
    ids = [each("images", "-q", "--no-trunc", name) for each, name in ((store, "x:1"), (other, f"{served.place}/x:1"))]
    assert ids[0] == ids[1]
    other("pull", "-a", "-q", f"{served.place}/x")
    assert len(other("images", "-q").split()) == 3
    [by_digest] = json.loads(other("image", "inspect", "--format", "{{json .RepoDigests}}", f"{served.place}/x:1"))
    other("rmi", "-f", ids[0].strip())
    other("pull", "-q", by_digest)
    assert other("images", "-q", "--no-trunc") == ids[0]


def test_a_container_runs_from_what_is_served(minirun: Minirun, busybox_image: str, tmp_path: Path) -> None:
    pupil = Store(minirun, tmp_path / "second")
    with serving(Store(minirun, Path("/var/lib/minirun"))) as served:
        name = f"{served.place}/{busybox_image}"
        assert pupil("run", "--rm", "--network=none", name, "echo", "it runs") == "it runs\n"


def test_skopeo_agrees_on_every_digest(served: Served, tmp_path: Path) -> None:
    image = f"docker://{served.place}/class/web:1"
    command = ["skopeo", "inspect", "--tls-verify=false", image]
    document = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    raw = subprocess.run([*command, "--raw"], check=True, capture_output=True).stdout
    assert document["Digest"] == digest(raw)
    assert document["Layers"] == [layer["digest"] for layer in json.loads(raw)["layers"]]
    copy = ["skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", image, f"dir:{tmp_path}/copy"]
    subprocess.run(copy, check=True)
    assert (tmp_path / "copy" / "manifest.json").read_bytes() == raw
    copy = ["skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", f"dir:{tmp_path}/copy", image + "2"]
    refused = subprocess.run(copy, check=False, capture_output=True)
    assert (refused.returncode, b"this registry is for pulling only" in refused.stderr) == (1, True)


def test_an_image_that_was_at_a_registry_keeps_its_digest(minirun: Minirun, host: Host, tmp_path: Path) -> None:  # noqa: ARG001
    """By what minirun can make again: plain layers, here, and its own compression."""
    teacher, pupil = Store(minirun, tmp_path / "root"), Store(minirun, tmp_path / "second")
    teacher.load_archive(oci_layout(LAYERS, "x:1", compression=""))
    with serving(teacher) as served:
        own = served("/v2/x/manifests/1").headers["docker-content-digest"]
        assert "gzip" in served("/v2/x/manifests/1").body.decode(), "nobody knows the archive's digest"
        pupil("pull", "-q", f"{served.place}/x:1")
    pupil("tag", pupil("images", "-q").strip(), "again:1")
    with serving(pupil) as served:
        assert served("/v2/again/manifests/1").headers["docker-content-digest"] == own


def test_plain_layers_of_a_registry_stay_plain(minirun: Minirun, host: Host, tmp_path: Path) -> None:  # noqa: ARG001
    store = Store(minirun, tmp_path / "root")
    origin = FakeRegistry()
    try:
        stated = origin.add_image("1", LAYERS)
        store("pull", "-q", f"{origin.host}/a:1")
    finally:
        origin.close()
    with serving(store) as served:
        assert served("/v2/a/manifests/1").headers["docker-content-digest"] == stated
        for layer in LAYERS:
            assert served(f"/v2/a/blobs/{digest(layer)}").body == layer
        assert digest(served(f"/v2/a/manifests/{stated}").body) == stated


def test_blobs_are_known_from_an_earlier_server(store: Store) -> None:
    with serving(store) as served:
        manifest = served("/v2/x/manifests/1")
        config, layer, *_ = blobs_of(served)
    stated = digest(manifest.body)
    for path in (f"manifests/{stated}", f"blobs/{layer['digest']}", f"blobs/{config['digest']}"):
        with serving(store) as served:
            assert digest(served(f"/v2/x/{path}").body) == path.partition("/")[2]


def test_an_image_that_is_removed_can_still_be_fetched_by_those_who_know_it(store: Store, served: Served) -> None:
    manifest = served("/v2/x/manifests/1")
    blobs = blobs_of(served)
    store("rmi", "-f", store("images", "-q", "x:1").strip())
    assert served("/v2/x/manifests/1").code == "404 NAME_UNKNOWN"
    assert served("/v2/_catalog").json == {"repositories": []}
    assert served(f"/v2/x/manifests/{digest(manifest.body)}").body == manifest.body
    for blob in blobs:
        assert digest(served(f"/v2/x/blobs/{blob['digest']}").body) == blob["digest"]
    assert list((store.root / "layers").glob("?" * 64)) == []


def test_who_goes_in_the_middle_does_not_end_the_server(minirun: Minirun, tmp_path: Path) -> None:
    store = Store(minirun, tmp_path / "root")
    store.load("big:1", layers=[tar(entry("x", random.Random(1).randbytes(20_000_000)))])
    with serving(store) as served:
        _, layer = blobs_of(served, "big")
        for _ in range(5):
            with served.connect() as connection:
                connection.sendall(f"GET /v2/big/blobs/{layer['digest']} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
                assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        assert digest(served(f"/v2/big/blobs/{layer['digest']}").body) == layer["digest"]
        eventually(lambda: len(_descriptors(served)) < 20)
    with serving(store) as served:
        # Its size is known now: it is sent while it is made.
        assert digest(served(f"/v2/big/blobs/{layer['digest']}").body) == layer["digest"]


def test_a_new_image_is_served_at_once(store: Store, served: Served) -> None:
    assert served("/v2/new/manifests/1").code == "404 NAME_UNKNOWN"
    store("tag", "x:1", "new:1")
    assert served("/v2/new/manifests/1").body == served("/v2/x/manifests/1").body


def test_a_damaged_image_is_told_at_the_server(store: Store, served: Served) -> None:
    for path in store.root.glob("layers/*/diff/0/y"):
        path.write_bytes(b"")
    reply = served("/v2/x/manifests/1")
    assert reply.code == "500 UNKNOWN"
    assert str(store.root) not in reply.body.decode()
    assert served("/v2/").status == 200
    store.load("x:1")
    assert served("/v2/x/manifests/1").status == 200, "it is tried again"
    served.end(signal.SIGTERM)
    assert served.process.stderr is not None
    assert "is damaged: it is shorter than it was" in served.process.stderr.read().decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_at_once(store: Store, number: signal.Signals) -> None:
    with serving(store) as served, served.connect() as connection:
        connection.sendall(b"GET /v2/x/manifests/1 HTTP/1.1\r\nHost: h\r\n\r\n")
        assert connection.recv(100)
        assert served.end(number) == (130 if number == signal.SIGINT else -number)
        assert list((store.root / "ingest").iterdir()) == []


def test_thirty_pull_at_once(minirun: Minirun, tmp_path: Path) -> None:
    """All of them get it, of a server that makes each blob once and holds none in memory."""
    store = Store(minirun, tmp_path / "root")
    parts = [tar(entry(f"{number}", bytes(range(256)) * 40000 + bytes([number]))) for number in range(3)]
    store.load("big:1", layers=parts)
    with serving(store) as served, ThreadPoolExecutor(30) as pool:
        served_digests = pool.map(lambda _: digest(served("/v2/big/manifests/1").body), range(30))
        assert len(set(served_digests)) == 1
        layers = served("/v2/big/manifests/1").json["layers"]
        replies = pool.map(lambda n: digest(served(f"/v2/big/blobs/{layers[n % 3]['digest']}").body), range(90))
        assert list(replies) == [layers[n % 3]["digest"] for n in range(90)]
        held = [Path(f"/proc/{served.process.pid}/fd/{fd.name}").readlink() for fd in _descriptors(served)]
        assert sum("ingest" in str(path) for path in held) == 3
        eventually(lambda: len(_descriptors(served)) < 20)


def _descriptors(served: Served) -> list[Path]:
    return list(Path(f"/proc/{served.process.pid}/fd").iterdir())
