"""`registry serve` with TLS and passwords, and what it says to those who are wrong at its start."""

from __future__ import annotations

import base64
import signal
import subprocess
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import bcrypt
import pytest
from support.serving import Reply, Served, Store, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.commands import Minirun

PASSWORD = "geheim: ä"


@pytest.fixture
def store(minirun: Minirun, tmp_path: Path) -> Store:
    store = Store(minirun, tmp_path / "root")
    store.load("x:1")
    return store


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A directory with a certificate for 127.0.0.1, ca.crt; and its key, ../server.key."""
    (tmp_path / "ca").mkdir()
    subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=here -addext subjectAltName=IP:127.0.0.1 "
        f"-keyout {tmp_path}/server.key -out {tmp_path}/ca/ca.crt".split(),
        check=True,
        capture_output=True,
    )
    return tmp_path / "ca"


@pytest.fixture
def htpasswd(tmp_path: Path) -> Path:
    # bcrypt looks at 72 bytes; htpasswd cuts the rest off.
    hashes = [bcrypt.hashpw(text.encode(), bcrypt.gensalt(4)).decode() for text in (PASSWORD, "x" * 72)]
    path = tmp_path / "htpasswd"
    path.write_text(f"# the class\n\nme:{hashes[0].replace('$2b$', '$2y$')}\nlong:{hashes[1]}\n")
    return path


@pytest.fixture
def guarded(store: Store, htpasswd: Path) -> Iterator[Served]:
    with serving(store, "--htpasswd", htpasswd) as served:
        yield served


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize("path", ["/v2/", "/v2/x/manifests/1", "/v2/_catalog", "/"])
def test_nothing_without_a_password(guarded: Served, path: str) -> None:
    for authorization in (
        *("", "Basic", "Basic ?", "Basic bWU=", "Bearer x", basic("me", "falsch"), basic("me", PASSWORD + "x")),
        *(basic("nobody", PASSWORD), basic("", ""), basic("me", ""), basic("me", "\0"), basic("me", PASSWORD + "\0")),
    ):
        refused = guarded(path, Authorization=authorization) if authorization else guarded(path)
        assert refused.code == "401 UNAUTHORIZED", authorization
        assert refused.headers["www-authenticate"].startswith('Basic realm="')
        assert guarded(path, "HEAD", Authorization=authorization).status == 401
        assert guarded(path, "POST").status == 401


def test_with_a_password(guarded: Served) -> None:
    for _ in range(2):  # the second time it is remembered
        assert guarded("/v2/x/manifests/1", Authorization=basic("me", PASSWORD)).status == 200
    assert guarded("/v2/", Authorization=basic("long", "x" * 80)).status == 200
    assert guarded("/v2/", Authorization=basic("me", "falsch")).status == 401


def test_log_in_pull_and_log_out(
    guarded: Served, minirun: Minirun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    pupil = Store(minirun, tmp_path / "second")
    assert "pull access denied" in pupil("pull", f"{guarded.place}/x:1", code=1)
    login = ("login", "-u", "me", "--password-stdin", guarded.place)
    assert minirun(*login, input="falsch", check=False).returncode == 1
    assert "Login Succeeded" in minirun(*login, input=PASSWORD).stdout
    pupil("pull", "-q", f"{guarded.place}/x:1")
    guarded.end(signal.SIGTERM)
    assert guarded.process.stderr is not None
    assert guarded.process.stderr.read() == b""


def test_tls(store: Store, certificate: Path, htpasswd: Path, minirun: Minirun, tmp_path: Path) -> None:
    pair = ("--tls-cert", certificate / "ca.crt", "--tls-key", certificate.parent / "server.key")
    with serving(store, *pair, "--htpasswd", htpasswd) as served:
        assert "https://" in served.said
        creds = f"--creds=me:{PASSWORD}"
        inspect = ["skopeo", "inspect", f"--cert-dir={certificate}", creds, f"docker://{served.place}/x:1"]
        subprocess.run(inspect, check=True, capture_output=True)
        directory = Path(f"/etc/docker/certs.d/{served.place}")
        directory.mkdir(parents=True)
        (directory / "ca.crt").write_bytes((certificate / "ca.crt").read_bytes())
        env = {"DOCKER_CONFIG": str(tmp_path / "docker")}
        minirun("login", "-u", "me", "--password-stdin", served.place, input=PASSWORD, env=env)
        done = minirun("--root", tmp_path / "second", "pull", "-q", f"{served.place}/x:1", env=env)
        assert done.stdout == f"{served.place}/x:1\n"
        # Who speaks plain HTTP is told so, and who says nothing does not keep others from being served.
        plain = Reply(served.send(b"GET /v2/ HTTP/1.1\r\nHost: h\r\n\r\n"))
        assert (plain.code, plain.json["errors"][0]["message"]) == ("400 UNSUPPORTED", "this server speaks HTTPS")
        with served.connect(), served.connect() as half:
            half.sendall(b"\x16\x03\x01")
            subprocess.run(inspect, check=True, capture_output=True)


def test_who_speaks_tls_to_a_plain_server_is_answered_at_once(store: Store) -> None:
    with serving(store) as served:
        assert Reply(served.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")).status == 400
        with pytest.raises(OSError, match="SSL"):
            urllib.request.urlopen(f"https://{served.place}/v2/", timeout=10)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("me:{SHA}2kuSN7rMzfGcB2DKt67EqDWQELA=\n", "line 1: the password is not hashed by bcrypt"),
        ("\nme:$apr1$u1SGWcrU$PfgvEnXOmqdvO8BMSwQlM.\n", "line 2: the password is not hashed by bcrypt"),
        ("me:plain\n", "line 1: the password is not hashed by bcrypt"),
        ("me\n", "line 1: the password is not hashed by bcrypt"),
        ("me:$2y$05$short\n", "line 1: the hash is malformed"),
        ("# nobody\n", "has no users"),
    ],
)
def test_an_htpasswd_that_cannot_be_used(store: Store, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "htpasswd").write_text(text)
    told = store("registry", "serve", "--htpasswd", tmp_path / "htpasswd", code=1)
    assert message in told
    assert "hint: 'htpasswd -B" in told


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--listen", "5000"], 1, "invalid address to listen at: '5000'"),
        (["--listen", "::1:5000"], 1, "invalid address"),
        (["--listen", "127.0.0.1:99999"], 1, "invalid address"),
        (["--listen", "192.0.2.77:5000"], 1, "cannot listen at 192.0.2.77, port 5000: Cannot assign requested address"),
        (["--listen", "no-such-host.invalid:5000"], 1, "cannot listen at no-such-host.invalid"),
        (["--tls-cert", "x"], 125, "--tls-cert and --tls-key are given together"),
        (["--tls-cert", "/nowhere", "--tls-key", "/nowhere"], 1, "/nowhere: No such file"),
        (["--tls-cert", "/etc/hostname", "--tls-key", "/etc/hostname"], 1, "are no certificate with its key"),
        (["--htpasswd", "/nowhere"], 1, "/nowhere: No such file"),
        (["more"], 1, "accepts no arguments"),
    ],
)
def test_mistakes(store: Store, arguments: list[str], code: int, message: str) -> None:
    told = store("registry", "serve", *arguments, code=code)
    assert message in told
    assert "Traceback" not in told


def test_an_address_that_is_taken(store: Store) -> None:
    with serving(store) as served:
        told = store("registry", "serve", "--listen", served.place, code=1)
        assert "Address already in use" in told


def test_all_addresses(store: Store) -> None:
    process = store.minirun.start("--root", store.root, "registry", "serve", "--listen", ":0")
    assert process.stdout is not None
    port = process.stdout.readline().decode().split(";")[0].rpartition(":")[2]
    for address in ("127.0.0.1", "[::1]", "203.0.113.2"):
        with urllib.request.urlopen(f"http://{address}:{port}/v2/", timeout=10) as answer:
            assert answer.status == 200


def test_passwords_in_the_clear_are_warned_of(store: Store, htpasswd: Path) -> None:
    process = store.minirun.start("--root", store.root, "registry", "serve", "--listen", ":0", "--htpasswd", htpasswd)
    assert process.stderr is not None
    assert b"passwords come over the network in the clear" in process.stderr.readline()
