"""A registry that means harm: whatever it answers, a pull ends soon, in one sentence, and leaves nothing."""

from __future__ import annotations

import json
import os
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.fake_registry import INDEX, MANIFEST, descriptor
from support.image_archives import COMPRESSORS, config, digest, files

from minirun.errors import MinirunError
from minirun.registry.client import Client
from minirun.registry.http.transport import Transport
from minirun.storage.images import all_images

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.commands import Minirun
    from support.fake_registry import FakeRegistry, Handler

    from minirun.model.layout import Layout
    from minirun.registry.pull import Pulled

LAYER = files({"file": b"content"})
CONFIG = config([LAYER])
PATIENCE = 10  # seconds


def _raw(head: str, body: bytes = b"", *, endless: bytes = b"") -> Callable[[Handler], None]:
    """Answer with these very bytes, and maybe with more of them until the client goes."""

    def act(handler: Handler) -> None:
        handler.close_connection = True
        try:
            handler.wfile.write(head.replace("\n", "\r\n").encode("latin-1") + body)
            while endless:
                handler.wfile.write(endless)
        except OSError:
            pass

    return act


def _manifest(**fields: Any) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "config": descriptor("application/vnd.oci.image.config.v1+json", CONFIG),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", LAYER)],
        **fields,
    }


OK = "HTTP/1.1 200 OK\n"
CHUNK = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
ANSWERS = {
    "endless manifest": (_raw(f"{OK}Transfer-Encoding: chunked\n\n", endless=CHUNK), "more than 4194304 bytes"),
    "manifest without an end": (_raw(f"{OK}\n", endless=b" " * 65536), "more than 4194304 bytes"),
    "long manifest": (_raw(f"{OK}Content-Length: 99999999999\n\n", endless=b" " * 65536), "more than 4194304 bytes"),
    "negative length": (_raw(f"{OK}Content-Length: -1\n\n{{}}"), "the manifest|manifest that minirun can read"),
    "two lengths": (_raw(f"{OK}Content-Length: 1\nContent-Length: 2\n\n{{}}"), "."),
    "many headers": (_raw(OK + "X: y\n" * 10_000 + "\n"), "is not HTTP"),
    "endless header": (_raw(f"{OK}X: ", endless=b"y" * 65536), "is not HTTP"),
    "endless headers": (_raw(OK, endless=b"X: y\r\n" * 1000), "is not HTTP"),
    "endless status": (_raw("HTTP/1.1 200 ", endless=b"y" * 65536), "is not HTTP"),
    "endless chunk size": (_raw(f"{OK}Transfer-Encoding: chunked\n\n", endless=b"0" * 65536), "."),
    "no HTTP": (_raw("SSH-2.0-OpenSSH_9.2\n"), "is not HTTP"),
    "nothing": (_raw(""), "cut off"),
    "deep JSON": (_raw(f"{OK}\n", b"[" * 1_000_000), "the manifest is"),
    "deep JSON that ends": (_raw(f"{OK}\n", b'{"a":' * 500 + b"1" + b"}" * 500), "nested|not valid JSON"),
    "a million values": (_raw(f"{OK}\n", b"[" + b"1," * 1_000_000 + b"1]"), "holds more than"),
    "half a character": (_raw(f"{OK}\n", rb'{"manifests": "\ud800"}'), "not Unicode"),
    "not UTF-8": (_raw(f"{OK}\n", b'{"\xff": 1}'), "not valid JSON"),
    "a long number": (_raw(f"{OK}\n", b'{"schemaVersion": ' + b"9" * 5000 + b"}"), "not valid JSON"),
    "redirect to rubbish": (_raw("HTTP/1.1 307 x\nLocation: http://[::1\nContent-Length: 0\n\n"), "."),
    "redirect to a file": (_raw("HTTP/1.1 307 x\nLocation: file:///etc/shadow\nContent-Length: 0\n\n"), "not HTTP"),
    "redirect to a port": (_raw("HTTP/1.1 307 x\nLocation: http://h:99999/\nContent-Length: 0\n\n"), "invalid"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_to_the_request_for_a_manifest(
    layout: Layout, registry: FakeRegistry, pull: Callable[..., Pulled], name: str
) -> None:
    act, sentence = ANSWERS[name]
    registry.fail_once("/manifests/", act, times=1000)
    began = time.monotonic()
    with pytest.raises(MinirunError, match=sentence) as caught:
        pull()
    assert time.monotonic() - began < PATIENCE
    assert len(caught.value.message) < 1000
    assert not all_images(layout)
    print(caught.value.message)


MANIFESTS = {
    "an unknown algorithm": (_manifest(layers=[{"digest": "md5:" + "0" * 32, "size": 1}]), "is not one of sha256"),
    "a path as a digest": (_manifest(layers=[{"digest": "sha256:../../../etc/passwd", "size": 1}]), "is malformed"),
    "a short digest": (_manifest(config={"digest": "sha256:0", "size": 1}), "is malformed"),
    "control characters": (_manifest(artifactType="\x1b]0;owned\x07"), "artifact"),
    "ten thousand layers": (_manifest(layers=[descriptor("", LAYER)] * 10_000), "10000 layers"),
    "a size that is no number": (_manifest(layers=[descriptor("", LAYER) | {"size": "1"}]), "malformed"),
    "a size that is a fraction": (_manifest(layers=[descriptor("", LAYER) | {"size": 1.5}]), "malformed"),
    "a size beyond all disks": (_manifest(layers=[descriptor("", LAYER) | {"size": 1 << 80}]), "malformed"),
    "a layer too long": (_manifest(layers=[descriptor("", LAYER) | {"size": len(LAYER) - 1}]), "size of the blob"),
    "a layer too short": (_manifest(layers=[descriptor("", LAYER) | {"size": len(LAYER) + 1}]), "size of the blob"),
    "an empty layer": (_manifest(layers=[descriptor("", LAYER) | {"size": 0}]), "."),
    "a config too long": (_manifest(config=descriptor("", CONFIG) | {"size": len(CONFIG) - 1}), "size of"),
    "a config too short": (_manifest(config=descriptor("", CONFIG) | {"size": len(CONFIG) + 1}), "size of"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_that_lie(layout: Layout, registry: FakeRegistry, pull: Callable[..., Pulled], name: str) -> None:
    document, sentence = MANIFESTS[name]
    registry.add_manifest("1", document, MANIFEST)
    registry.blobs |= {digest(data): data for data in (LAYER, CONFIG)}
    with pytest.raises(MinirunError, match=sentence) as caught:
        pull()
    print(caught.value.message)
    assert not all_images(layout)


def test_ten_thousand_layers_that_the_config_has_too(registry: FakeRegistry, pull: Callable[..., Pulled]) -> None:
    registry.add_image("1", [LAYER] * 10_000)
    with pytest.raises(MinirunError, match="it has 10000 layers, and at most 127 can be mounted"):
        pull()


def test_an_index_that_leads_to_itself(registry: FakeRegistry, pull: Callable[..., Pulled]) -> None:
    """By digest none can; but an index of indexes may be deep."""
    name = registry.add_manifest("end", _manifest(), MANIFEST)
    for _ in range(10):
        data = registry.manifests[name][1]
        name = registry.add_manifest("1", {"schemaVersion": 2, "manifests": [descriptor(INDEX, data)]}, INDEX)
    with pytest.raises(MinirunError, match="nested too deep"):
        pull()


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_bomb(
    layout: Layout,
    registry: FakeRegistry,
    pull: Callable[..., Pulled],
    compression: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is refused above a gigabyte is refused here above a megabyte, for the test's sake."""
    from minirun.storage.tar import compression as module

    monkeypatch.setattr(module, "RATIO_FROM", 1 << 20)
    tar = files({"zeros": bytes(64 << 20)})
    blob, image_config = COMPRESSORS[compression](tar), config([tar])
    registry.blobs |= {digest(blob): blob, digest(image_config): image_config}
    document = _manifest(config=descriptor("", image_config), layers=[descriptor("", blob)])
    registry.add_manifest("1", document, MANIFEST)
    with pytest.raises(MinirunError, match="refused") as caught:
        pull()
    print(caught.value.message)
    assert not all_images(layout)
    assert not os.listdir(layout.ingest)
    assert os.listdir(layout.layers) in ([], ["l"])


CHALLENGES = {
    "no realm": 'Bearer service="x"',
    "rubbish": ',,,=,="\x7f',
    "a broken realm": 'Bearer realm="http://[::1"',
    "a realm with a bad port": 'Bearer realm="http://127.0.0.1:99999/token"',
    "a realm that is a file": 'Bearer realm="file:///etc/shadow"',
    "twenty thousand of them": "Bearer realm=x," * 4000,
}


@pytest.mark.parametrize("name", CHALLENGES)
def test_challenges(registry: FakeRegistry, pull: Callable[..., Pulled], name: str) -> None:
    header = {"WWW-Authenticate": CHALLENGES[name]}
    registry.fail_once("", lambda handler: handler.error(401, "UNAUTHORIZED", headers=header), times=1000)
    with pytest.raises(MinirunError) as caught:
        pull()
    print(caught.value.message)


TOKENS = {
    "no JSON": b"<html>",
    "no object": b"[]",
    "no text": b'{"token": 7}',
    "two lines": rb'{"token": "a\r\nX-Evil: yes"}',
    "a life without end": b'{"token": "t", "expires_in": ' + b"9" * 400 + b"}",
    "a life in words": b'{"token": "t", "expires_in": "soon"}',
    "deep": b'{"token":' * 100_000,
    "long": b'{"token": "' + b"t" * (2 << 20) + b'"}',
}


@pytest.mark.parametrize("name", TOKENS)
def test_tokens(registry: FakeRegistry, pull: Callable[..., Pulled], name: str) -> None:
    registry.add_image("1", [LAYER])

    def fault(handler: Handler) -> bool:
        if handler.path.startswith("/token"):
            handler.answer(200, TOKENS[name])
        elif handler.headers.get("Authorization") != "Bearer good":
            challenge = f'Bearer realm="http://{registry.host}/token"'
            handler.error(401, "UNAUTHORIZED", headers={"WWW-Authenticate": challenge})
        return True

    registry.faults.append(fault)
    with pytest.raises(MinirunError) as caught:
        pull()
    print(caught.value.message)


LINKS = {
    "itself": '</v2/a/tags/list>; rel="next"',
    "another host": '<http://other.example/v2/a/tags/list>; rel="next"',
    "rubbish": '<http://[::1>; rel="next"',
}


@pytest.mark.parametrize("name", LINKS)
def test_lists_of_tags(registry: FakeRegistry, name: str) -> None:
    page = json.dumps({"tags": ["1", "\x1b[2J", 7, None] * 100}).encode()
    registry.fail_once("/tags/list", lambda handler: handler.answer(200, page, {"Link": LINKS[name]}), times=100_000)
    client = Client(Transport(), registry.host, "a")
    began = time.monotonic()
    with pytest.raises(MinirunError) as caught:
        list(client.tags())
    print(caught.value.message)
    assert time.monotonic() - began < PATIENCE


def test_what_a_registry_says_does_not_steer_the_terminal(minirun: Minirun, registry: FakeRegistry) -> None:
    registry.fail_once("/manifests/", _raw("HTTP/1.1 418 \x1b]0;owned\x07\nContent-Length: 0\n\n"))
    registry.fail_once("/manifests/", lambda handler: handler.error(403, "DENIED", "\x1b[2J\x9b31m\u202eno"))
    registry.add_manifest("artifact", _manifest(artifactType="\x1b]0;owned\x07"), MANIFEST)
    platform = {"os": "\x1b[2J", "architecture": "\x9b31m"}
    entry = descriptor(MANIFEST, CONFIG) | {"platform": platform}
    registry.add_manifest("other", {"schemaVersion": 2, "manifests": [entry], "a": "\x7f\x9b31m\u202e"}, INDEX)
    registry.tags = ["\x1b[2J"]
    for command in ("pull", "a:1"), ("pull", "a:1"), ("pull", "a:artifact"), ("pull", "a:other"), ("pull", "-a", "a"):
        done = minirun(*command[:-1], f"{registry.host}/{command[-1]}", check=False)
        assert done.returncode == (0 if "-a" in command else 1), command
        assert re.fullmatch(r"[\n\x20-\x7e]*", done.stdout + done.stderr), (command, done)
    shown = minirun("manifest", "inspect", f"{registry.host}/a:other").stdout
    assert re.fullmatch(r"[\n\t\x20-\x7e]*", shown)
    assert json.loads(shown)["a"] == "\x7f\x9b31m\u202e"
