"""Who may pull: challenges, tokens, passwords, and to whom they are never sent."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest
from support.fake_registry import FakeRegistry
from support.image_archives import digest, files
from support.uploads import body

from minirun.errors import MinirunError
from minirun.registry.auth import credentials
from minirun.registry.auth.credentials import Credential
from minirun.registry.client import Client
from minirun.registry.http.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.fake_registry import Handler

    from minirun.registry.pull import Pulled

LAYER = files({"file": b"content"})
BASIC = f"Basic {base64.b64encode(b'me:geheim').decode()}"


@pytest.fixture
def other() -> Iterator[FakeRegistry]:
    fake = FakeRegistry()
    yield fake
    fake.close()


def _needs(registry: FakeRegistry, wanted: str, challenge: str) -> None:
    def fault(handler: Handler) -> bool:
        if handler.headers.get("Authorization") == wanted:
            return False
        handler.error(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": challenge})
        return True

    registry.faults.append(fault)


def _gives_token(server: FakeRegistry, token: str = "T1") -> None:
    def fault(handler: Handler) -> bool:
        if not handler.path.startswith("/token"):
            return False
        length = int(handler.headers.get("Content-Length") or 0)
        server.bodies = [*getattr(server, "bodies", []), handler.rfile.read(length).decode()]  # type: ignore[attr-defined]
        handler.answer(200, json.dumps({"access_token": token}).encode())
        return True

    server.faults.insert(0, fault)


def test_basic(registry: FakeRegistry, pull: Callable[..., Pulled]) -> None:
    registry.add_image("1", [LAYER])
    _needs(registry, BASIC, 'Basic realm="x"')
    with pytest.raises(MinirunError, match=r"pull access denied for .*/a, repository does not exist or may require"):
        pull()
    credentials.save(registry.host, Credential("me", "geheim"))
    assert pull().fresh


def test_bearer(registry: FakeRegistry, other: FakeRegistry, pull: Callable[..., Pulled]) -> None:
    registry.add_image("1", [LAYER])
    _needs(registry, "Bearer T1", f'Bearer realm="http://{other.host}/token",service="s"')
    _gives_token(other)
    credentials.save(registry.host, Credential("me", "geheim"))
    assert pull().fresh
    ((method, path, headers),) = other.requests
    assert (method, headers["Authorization"]) == ("GET", BASIC)
    assert path == "/token?service=s&scope=repository%3Aa%3Apull&account=me"


def test_identity_token(registry: FakeRegistry, other: FakeRegistry, pull: Callable[..., Pulled]) -> None:
    registry.add_image("1", [LAYER])
    _needs(registry, "Bearer T1", f'Bearer realm="http://{other.host}/token",service="s"')
    _gives_token(other)
    credentials.save(registry.host, Credential("me", identity_token="IDT"))
    assert pull().fresh
    assert [(method, "Authorization" in headers) for method, _, headers in other.requests] == [("POST", False)]
    assert "grant_type=refresh_token&refresh_token=IDT" in other.bodies[0]  # type: ignore[attr-defined]


def test_no_token_is_sent_to_another_host(
    registry: FakeRegistry, other: FakeRegistry, pull: Callable[..., Pulled]
) -> None:
    registry.add_image("1", [LAYER])
    _needs(registry, BASIC, 'Basic realm="x"')
    credentials.save(registry.host, Credential("me", "geheim"))
    other.blobs[digest(LAYER)] = LAYER
    location = {"Location": f"http://{other.host}/blobs/{digest(LAYER)}?signature=geheim2"}
    registry.fail_once(f"/blobs/{digest(LAYER)}", lambda handler: handler.answer(307, headers=location))
    assert pull().fresh
    assert ["Authorization" in headers for headers in other.asked_for("/blobs/")] == [False]


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
@pytest.mark.parametrize("part", ["/v2/", "/manifests/", "/blobs/"])
def test_another_host_cannot_ask_for_a_password(
    registry: FakeRegistry, other: FakeRegistry, pull: Callable[..., Pulled], scheme: str, part: str
) -> None:
    registry.add_image("1", [LAYER])
    credentials.save(registry.host, Credential("me", "geheim"))
    location = {"Location": f"http://{other.host}/elsewhere"}
    registry.fail_once(part, lambda handler: handler.answer(307, headers=location), times=100)
    challenge = {"WWW-Authenticate": f'{scheme} realm="http://{other.host}/token"'}
    other.faults.append(lambda handler: handler.error(401, "UNAUTHORIZED", headers=challenge) is None)
    with pytest.raises(MinirunError, match="pull access denied"):
        pull()
    assert [path for _, path, _ in other.requests if path != "/elsewhere"] == []
    assert not any("Authorization" in headers for _, _, headers in other.requests)


def test_an_upload_elsewhere_gets_no_password(registry: FakeRegistry, other: FakeRegistry) -> None:
    _needs(registry, BASIC, 'Basic realm="x"')
    location = {"Location": f"http://{other.host}/upload"}
    registry.fail_once("/uploads/", lambda handler: handler.answer(202, headers=location))
    challenge = {"WWW-Authenticate": 'Basic realm="y"'}
    other.faults.append(lambda handler: body(handler) and handler.error(401, "UNAUTHORIZED", headers=challenge) is None)
    client = Client(Transport(), registry.host, "a", "pull,push", Credential("me", "geheim"))
    with pytest.raises(MinirunError, match="unauthorized"):
        client.put_blob(digest(LAYER), len(LAYER), lambda: [LAYER])
    assert other.requests
    assert not any("Authorization" in headers for _, _, headers in other.requests)


def test_no_secret_is_in_an_error(registry: FakeRegistry, other: FakeRegistry, pull: Callable[..., Pulled]) -> None:
    registry.add_image("1", [LAYER])
    location = {"Location": f"http://user:geheim3@{other.host}/blobs/x?signature=geheim2"}
    registry.fail_once("/blobs/", lambda handler: handler.answer(307, headers=location))
    other.faults.append(lambda handler: handler.error(403, "DENIED") is None)
    with pytest.raises(MinirunError) as caught:
        pull()
    cause: BaseException | None = caught.value
    while cause:
        assert "geheim" not in str(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def test_a_token_server_without_tls_is_refused(registry: FakeRegistry, pull: Callable[..., Pulled]) -> None:
    registry.add_image("1", [LAYER])
    _needs(registry, "Bearer T1", 'Bearer realm="ftp://tokens.example/token"')
    with pytest.raises(MinirunError, match="which is not https"):
        pull()


def test_credentials_are_private_and_others_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "docker/config.json"
    path.parent.mkdir()
    path.write_text('{"psFormat": "x", "auths": {"https://other/v1/": {"auth": "YTpi"}}}')
    assert credentials.save("docker.io", Credential("me", "p:w")) == str(path)
    document = json.loads(path.read_text())
    assert path.stat().st_mode & 0o777 == 0o600
    assert (document["psFormat"], set(document["auths"])) == ("x", {"https://other/v1/", credentials.DOCKER_HUB_KEY})
    assert credentials.find("docker.io") == Credential("me", "p:w")
    assert credentials.find("other") == Credential("a", "b")
    assert credentials.forget("docker.io")
    assert not credentials.forget("docker.io")
    assert credentials.find("docker.io") is None


def test_a_helper_gets_secrets_on_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-test"
    helper.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/arguments\ncase $1 in\nstore) cat > {tmp_path}/kept;;\n'
        f"get) cat {tmp_path}/kept;;\nesac\n"
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker/config.json").write_text('{"credHelpers": {"reg.example": "test"}}')
    assert credentials.save("reg.example", Credential("me", "geheim")) == ""
    assert "geheim" not in (tmp_path / "docker/config.json").read_text()
    assert credentials.find("reg.example") == Credential("me", "geheim")
    assert (tmp_path / "arguments").read_text() == "store\nget\n"


def test_the_longest_path_of_auth_json_wins(tmp_path: Path) -> None:
    (tmp_path / "containers").mkdir()
    auth = base64.b64encode
    entries = {"r:1": {"auth": auth(b"u:host").decode()}, "r:1/a/b": {"auth": auth(b"u:path").decode()}}
    (tmp_path / "containers/auth.json").write_text(json.dumps({"auths": entries}))
    assert credentials.find("r:1", "a/b/c") == Credential("u", "path")
    assert credentials.find("r:1", "a") == Credential("u", "host")
