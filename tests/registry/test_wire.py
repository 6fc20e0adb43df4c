"""On the way to a registry: proxies, TLS with certificates on both sides, mirrors, short names."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.fake_registry import FakeRegistry
from support.image_archives import files
from support.proxy import Proxy

from minirun.errors import MinirunError
from minirun.registry.http.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.certificates import Authority
    from support.commands import Minirun
    from support.fake_registry import Handler

    Serve = Callable[..., FakeRegistry]

LAYER = files({"file": b"content"})
NAME = "registry.test:5000"


class Client:
    """minirun with a store, a registries.conf and certificates of the test's own."""

    def __init__(self, minirun: Minirun, directory: Path, environment: dict[str, str]) -> None:
        self._minirun = minirun
        self._root = directory / "root"
        self.conf = directory / "registries.conf"
        self.environment = environment | {"CONTAINERS_REGISTRIES_CONF": str(self.conf)}

    def __call__(self, *arguments: str, code: int = 0, **environment: str) -> str:
        """Run a command; return what it wrote to standard error where it should fail, else all that it wrote."""
        environment = self.environment | environment
        done = self._minirun("--root", self._root, *arguments, check=False, env=environment)
        assert done.returncode == code, done.stderr
        assert "internal error" not in done.stderr
        assert "geheim" not in done.stdout + done.stderr
        return done.stderr if code else done.stdout + done.stderr


@pytest.fixture
def client(minirun: Minirun, tmp_path: Path) -> Client:
    return Client(minirun, tmp_path, {"TERM": "dumb"})


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function that starts a registry with an image "a:1"."""
    started: list[FakeRegistry] = []

    def start(**settings: object) -> FakeRegistry:
        started.append(FakeRegistry(**settings))  # type: ignore[arg-type]
        started[-1].add_image("1", [LAYER])
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def certificates() -> Iterator[Callable[[str], Path]]:
    """Return a function that makes the directory for the certificates of a registry."""
    made: list[Path] = []

    def make(host: str) -> Path:
        made.append(Path(f"/etc/docker/certs.d/{host}"))
        made[-1].mkdir(parents=True, exist_ok=True)
        return made[-1]

    yield make
    for directory in made:
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()


# -- proxies -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def proxy_to() -> Iterator[Callable[..., Proxy]]:
    started: list[Proxy] = []

    def start(hosts: dict[str, str], password: str = "") -> Proxy:
        started.append(Proxy(hosts, password))
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_plain_http_goes_through_a_proxy(client: Client, serve: Serve, proxy_to: Callable[..., Proxy]) -> None:
    """The proxy alone can resolve the name."""
    client.conf.write_text(f'[[registry]]\nlocation = "{NAME}"\ninsecure = true\n')
    registry = serve()
    proxy = proxy_to({NAME: registry.host}, "me:geheim")
    for variable in ("HTTP_PROXY", "http_proxy"):
        proxy.requests.clear()
        client("pull", "-q", f"{NAME}/a:1", **{variable: f"http://me:geheim@{proxy.host}"})
        assert {method for method, _, _ in proxy.requests} == {"GET"}
        assert proxy.requests[0][1] == f"http://{NAME}/v2/"
        client("rmi", f"{NAME}/a:1")
    assert not any("Proxy-Authorization" in headers for _, _, headers in registry.requests)


def test_tls_goes_through_a_tunnel(
    client: Client,
    serve: Serve,
    proxy_to: Callable[..., Proxy],
    authority: Authority,
    certificates: Callable[[str], Path],
) -> None:
    (certificates(NAME) / "ca.crt").write_bytes(authority.certificate.read_bytes())
    proxy = proxy_to({NAME: serve(tls=authority.server()).host}, "me:geheim")
    client("--debug", "--explain", "pull", f"{NAME}/a:1", HTTPS_PROXY=f"http://me:geheim@{proxy.host}")
    assert {(method, target) for method, target, _ in proxy.requests} == {("CONNECT", NAME)}
    assert proxy.requests[0][2]["proxy-authorization"] == f"Basic {base64.b64encode(b'me:geheim').decode()}"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://me:geheim@{host}", "the proxy fails: 407 proxy authentication required"),
        ("http://{host}", "the proxy fails: 407 proxy authentication required"),
        ("http://127.0.0.1:1", "the proxy fails: connection refused"),
        ("socks5://me:geheim@127.0.0.1:1", "the proxy socks5://127.0.0.1:1 cannot be used: its URL is not one of HTTP"),
        ("http://[::1", "the proxy an invalid URL cannot be used"),
        ("http://127.0.0.1:99999", "the proxy http://127.0.0.1:99999 cannot be used"),
    ],
)
def test_a_proxy_that_refuses(client: Client, proxy_to: Callable[..., Proxy], url: str, sentence: str) -> None:
    proxy = proxy_to({}, "me:another")
    message = client("pull", f"{NAME}/a:1", code=1, HTTPS_PROXY=url.format(host=proxy.host))
    assert sentence in message
    assert message.count("\n") <= 2
    assert len(proxy.requests) <= 1, "what is refused is not tried again"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_does_not_reach_the_registry(
    proxy_to: Callable[..., Proxy], monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    proxy = proxy_to({})
    monkeypatch.setenv(f"{scheme}_proxy", proxy.host)
    transport = Transport(first_wait=0.001, certificate_directories=())
    if scheme == "http":
        assert transport.send("GET", f"http://{NAME}/").status == 502
    else:
        with pytest.raises(MinirunError, match="the proxy fails: 502 bad gateway"):
            transport.send("GET", f"https://{NAME}/")
    assert len(proxy.requests) == 5, "this may pass"


@pytest.mark.parametrize("exempt", ["*", "203.0.113.2", "203.0.113.0/24", "x,203.0.113.2:{port}"])
def test_no_proxy(client: Client, serve: Serve, exempt: str) -> None:
    registry = serve(address="203.0.113.2")
    client.conf.write_text(f'[[registry]]\nlocation = "{registry.host}"\ninsecure = true\n')
    port = registry.host.rpartition(":")[2]
    proxies = {"HTTP_PROXY": "127.0.0.1:1", "HTTPS_PROXY": "127.0.0.1:1"}
    client("pull", "-q", f"{registry.host}/a:1", **proxies, NO_PROXY=exempt.format(port=port))
    assert "proxy fails" in client("pull", "-q", f"{registry.host}/a:2", code=1, **proxies, NO_PROXY="203.0.113.3")


# -- TLS ---------------------------------------------------------------------------------------------------------------
def test_a_registry_that_demands_a_certificate(
    client: Client,
    serve: Serve,
    authority: Authority,
    other_authority: Authority,
    certificates: Callable[[str], Path],
) -> None:
    registry = serve(tls=authority.server(clients=authority))
    directory = certificates(registry.host)
    (directory / "ca.crt").write_bytes(authority.certificate.read_bytes())
    name = f"{registry.host}/a:1"
    message = client("pull", name, code=1)
    # With TLS 1.3 the server's reason comes after the handshake, and its hanging up may be heard first.
    assert "TLS fails: " in message

    certificate, key = other_authority.issue("stranger")
    (directory / "client.cert").write_bytes(certificate.read_bytes())
    assert "missing key client.key for client certificate client.cert" in client("pull", name, code=1)
    (directory / "client.key").write_bytes(key.read_bytes())
    assert "TLS fails: " in client("pull", name, code=1)

    certificate, key = authority.issue("client")
    (directory / "client.cert").write_bytes(certificate.read_bytes())
    assert f"the certificate {directory}/client.cert cannot be used" in client("pull", name, code=1)
    (directory / "client.key").write_bytes(key.read_bytes())
    client("pull", "-q", name)

    (directory / "client.cert").unlink()
    assert "missing client certificate client.cert for key client.key" in client("pull", name, code=1)


def test_a_key_with_a_passphrase_is_refused_and_asks_nobody(
    client: Client, serve: Serve, authority: Authority, certificates: Callable[[str], Path]
) -> None:
    registry = serve(tls=authority.server())
    directory = certificates(registry.host)
    certificate, key = authority.issue("locked")
    (directory / "a.cert").write_bytes(certificate.read_bytes())
    command = ["openssl", "ec", "-in", key, "-aes128", "-passout", "pass:geheim", "-out", directory / "a.key"]
    subprocess.run(command, check=True, capture_output=True)
    assert f"the certificate {directory}/a.cert cannot be used" in client("pull", f"{registry.host}/a:1", code=1)


@pytest.mark.parametrize(
    ("days", "trusted", "sentence"),
    [
        (2, "other", "certificate verify failed: unable to get local issuer certificate"),
        (2, "rubbish", "ca.crt cannot be used"),
        (2, "nothing", "ca.crt cannot be used"),
        (-1, "good", "certificate verify failed: certificate has expired"),
    ],
)
def test_a_certificate_that_is_not_believed(
    client: Client,
    serve: Serve,
    authority: Authority,
    other_authority: Authority,
    certificates: Callable[[str], Path],
    days: int,
    trusted: str,
    sentence: str,
) -> None:
    registry = serve(tls=authority.server(days=days))
    believed = {
        "good": authority.certificate.read_bytes(),
        "other": other_authority.certificate.read_bytes(),
        "rubbish": b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n",
        "nothing": b"",
    }
    (certificates(registry.host) / "ca.crt").write_bytes(believed[trusted])
    assert sentence in client("pull", f"{registry.host}/a:1", code=1)


def test_without_an_authority_this_machine_is_believed_and_others_are_not(
    client: Client, serve: Serve, authority: Authority
) -> None:
    here, there = serve(tls=authority.server()), serve(address="203.0.113.2", tls=authority.server())
    client("pull", "-q", f"{here.host}/a:1")
    assert "certificate verify failed" in client("pull", f"{there.host}/a:1", code=1)
    client.conf.write_text(f'[[registry]]\nlocation = "{there.host}"\ninsecure = true\n')
    client("pull", "-q", f"{there.host}/a:1")


# -- mirrors -----------------------------------------------------------------------------------------------------------
def _mirrored(client: Client, registry: FakeRegistry, *mirrors: str, more: str = "") -> None:
    text = f'[[registry]]\nlocation = "{registry.host}"\ninsecure = true\n{more}'
    client.conf.write_text(text + "".join(f"\n[[registry.mirror]]\n{mirror}\n" for mirror in mirrors))


def test_a_mirror_that_has_it_is_enough(client: Client, serve: Serve) -> None:
    registry, mirror = serve(), serve()
    _mirrored(client, registry, 'location = "127.0.0.1:1/x"', f'location = "{mirror.host}/copies"')
    client("pull", "-q", f"{registry.host}/a:1")
    assert registry.requests == []
    assert mirror.asked_for("/v2/copies/a/manifests/1")
    assert registry.host in client("images")


def _no_image(registry: FakeRegistry) -> None:
    registry.manifests.clear()


def _no_layer(registry: FakeRegistry) -> None:
    registry.blobs = {name: data for name, data in registry.blobs.items() if data != LAYER}


def _wrong_manifest(registry: FakeRegistry) -> None:
    registry.manifests = {name: (kind, data + b" ") for name, (kind, data) in registry.manifests.items()}


def _wrong_layer(registry: FakeRegistry) -> None:
    registry.blobs = {
        name: data.replace(b"content", b"CONTENT") if data == LAYER else data for name, data in registry.blobs.items()
    }


def _rubbish(registry: FakeRegistry) -> None:
    registry.manifests = {name: (kind, b"[rubbish") for name, (kind, _) in registry.manifests.items()}


def _asks_for_a_password(registry: FakeRegistry) -> None:
    def fault(handler: Handler) -> bool:
        handler.error(401, "UNAUTHORIZED", headers={"WWW-Authenticate": 'Basic realm="x"'})
        return True

    registry.faults.append(fault)


@pytest.mark.parametrize("spoil", [_no_image, _no_layer, _wrong_manifest, _wrong_layer, _rubbish, _asks_for_a_password])
@pytest.mark.parametrize("by_digest", [False, True])
def test_after_a_mirror_that_fails_the_registry_is_asked(
    client: Client, serve: Serve, spoil: Callable[[FakeRegistry], None], by_digest: bool
) -> None:
    registry, mirror = serve(), serve()
    digest = next(name for name in registry.manifests if name != "1")
    if spoil is not _wrong_manifest or by_digest:
        spoil(mirror)
    _mirrored(client, registry, f'location = "{mirror.host}"')
    client("pull", "-q", f"{registry.host}/a{'@' + digest if by_digest else ':1'}")
    assert mirror.requests
    if spoil is not _wrong_manifest or by_digest:
        assert registry.requests


def test_mirrors_for_digests_or_tags_only(client: Client, serve: Serve) -> None:
    registry, digests, tags = serve(), serve(), serve()
    digest = next(name for name in registry.manifests if name != "1")
    _mirrored(
        client,
        registry,
        f'location = "{digests.host}"\npull-from-mirror = "digest-only"',
        f'location = "{tags.host}"\npull-from-mirror = "tag-only"',
    )
    client("pull", "-q", f"{registry.host}/a:1")
    assert (bool(digests.requests), bool(tags.requests), bool(registry.requests)) == (False, True, False)
    client("rmi", f"{registry.host}/a:1")
    tags.requests.clear()
    client("pull", "-q", f"{registry.host}/a@{digest}")
    assert (bool(digests.requests), bool(tags.requests), bool(registry.requests)) == (True, False, False)


def test_blocked(client: Client, serve: Serve) -> None:
    registry = serve()
    _mirrored(client, registry, more="blocked = true\n")
    for command in ("pull", "manifest inspect", "run --rm"):
        message = client(*command.split(), f"{registry.host}/a:1", code=125 if "run" in command else 1)
        assert f"registry {registry.host} is blocked" in message
    assert registry.requests == []


def test_an_insecure_mirror_does_not_make_the_registry_insecure(
    client: Client, serve: Serve, authority: Authority
) -> None:
    registry = serve(address="203.0.113.2", tls=authority.server())
    mirror = serve(address="203.0.113.2", tls=authority.server())
    _no_image(mirror)
    client.conf.write_text(
        f'[[registry]]\nlocation = "{registry.host}"\n'
        f'[[registry.mirror]]\nlocation = "{mirror.host}"\ninsecure = true\n'
    )
    assert "certificate verify failed" in client("pull", f"{registry.host}/a:1", code=1)
    assert mirror.requests
    assert registry.requests == []


def test_short_names(client: Client, serve: Serve) -> None:
    """docker.io is first; what is not there is looked for in the registries that are named."""
    hub, search = serve(), serve()
    hub.add_image("2", [LAYER])
    client.conf.write_text(
        f'unqualified-search-registries = ["no registry", "{search.host}"]\n'
        f'[aliases]\nnick = "{search.host}/a"\n'
        f'[[registry]]\nprefix = "docker.io"\nlocation = "{hub.host}"\ninsecure = true\n'
    )
    assert "docker.io/library/a:2" in client("pull", "-q", "a:2")
    _no_image(hub)
    assert f"{search.host}/a:1" in client("pull", "-q", "a:1")
    assert f"{search.host}/a:1" in client("pull", "-q", "nick:1")
    assert "manifest for a:9 not found" in client("pull", "-q", "a:9", code=1)


@pytest.mark.parametrize("text", ["[[registry]]\n", "x = [", "unqualified-search-registries = 7", "\xff"])
def test_a_broken_registries_conf_is_named(client: Client, text: str) -> None:
    client.conf.write_bytes(text.encode("latin-1"))
    assert f"{client.conf} cannot be used" in client("pull", "a", code=1)


# -- tokens ------------------------------------------------------------------------------------------------------------
def test_login_keeps_an_identity_token_and_pull_uses_it(
    client: Client, serve: Serve, minirun: Minirun, tmp_path: Path
) -> None:
    registry, tokens = serve(), serve()
    asked: list[tuple[str, str, str]] = []

    def give(handler: Handler) -> bool:
        length = int(handler.headers.get("Content-Length") or 0)
        form = handler.rfile.read(length).decode()
        asked.append((handler.command, handler.path, form))
        answer = {"access_token": "T", "expires_in": 300}
        if "offline_token=true" in handler.path:
            answer["refresh_token"] = "geheim-refresh"
        handler.answer(200, json.dumps(answer).encode())
        return True

    def check(handler: Handler) -> bool:
        if handler.headers.get("Authorization") == "Bearer T":
            return False
        challenge = f'Bearer realm="http://{tokens.host}/token",service="s"'
        handler.error(401, "UNAUTHORIZED", headers={"WWW-Authenticate": challenge})
        return True

    tokens.faults.append(give)
    registry.faults.append(check)
    done = minirun("login", "-u", "me", "--password-stdin", registry.host, input="geheim\n")
    assert "geheim" not in done.stdout + done.stderr
    entry = json.loads((tmp_path / "docker/config.json").read_text())["auths"][registry.host]
    assert entry == {"auth": base64.b64encode(b"me:").decode(), "identitytoken": "geheim-refresh"}
    asked.clear()
    client("--debug", "--explain", "pull", f"{registry.host}/a:1")
    assert [(method, path) for method, path, _ in asked] == [("POST", "/token")]
    assert "grant_type=refresh_token&refresh_token=geheim-refresh" in asked[0][2]
    assert "Authorization" not in tokens.requests[-1][2]
