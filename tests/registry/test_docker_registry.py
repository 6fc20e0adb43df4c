"""The command line against Debian's docker-registry, with TLS, passwords and certificates of its own."""

from __future__ import annotations

import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.eventually import eventually
from support.fake_registry import FakeRegistry
from support.image_archives import digest, files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.commands import Minirun
    from support.fake_registry import Handler
    from support.host import Host

# crypt(3) of "geheim" by bcrypt, the one method that docker-registry accepts.
HTPASSWD = "me:$2y$05$abcdefghijklmnopqrstuuVWu8RjbNovPZWAMRdd7iqaaG0mI53Uu\n"
PLACE = "127.0.0.1:5443"
CONF = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {place}/data}}}}
http:
  addr: 127.0.0.1:5443
  tls: {{certificate: {place}/ca.crt, key: {place}/ca.key}}
auth: {{htpasswd: {{realm: here, path: {place}/htpasswd}}}}
"""


@pytest.fixture
def secured(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:  # noqa: ARG001
    """Start a docker-registry whose certificate this host trusts; return a directory for credentials."""
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    (tmp_path / "conf.yml").write_text(CONF.format(place=tmp_path))
    subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=here -addext subjectAltName=IP:127.0.0.1 "
        f"-keyout {tmp_path}/ca.key -out {tmp_path}/ca.crt".split(),
        check=True,
        capture_output=True,
    )
    certificates = Path(f"/etc/docker/certs.d/{PLACE}")
    certificates.mkdir(parents=True)
    (certificates / "ca.crt").write_bytes((tmp_path / "ca.crt").read_bytes())
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    server = subprocess.Popen(["docker-registry", "serve", str(tmp_path / "conf.yml")], stderr=subprocess.DEVNULL)
    try:
        eventually(_listens)
        yield tmp_path
    finally:
        server.kill()
        server.wait()
        for path in (certificates / "ca.crt", certificates):
            path.unlink() if path.is_file() else path.rmdir()


def _listens() -> bool:
    try:
        urllib.request.urlopen(f"http://{PLACE}/v2/", timeout=1)
    except urllib.error.HTTPError:
        return True  # plain HTTP to a server of TLS
    except OSError:
        return False
    return True


def test_log_in_pull_run(minirun: Minirun, secured: Path, make_archive: Path) -> None:
    name = f"{PLACE}/class/busybox:1"
    subprocess.run(
        [
            *"skopeo copy --quiet --dest-tls-verify=false --dest-creds=me:geheim".split(),
            f"docker-archive:{make_archive}",
            f"docker://{name}",
        ],
        check=True,
    )
    refused = minirun("pull", name, check=False)
    assert refused.returncode == 1
    assert "pull access denied" in refused.stderr
    wrong = minirun("login", "-u", "me", "--password-stdin", PLACE, input="falsch", check=False)
    assert (wrong.returncode, "falsch" in wrong.stderr) == (1, False)
    assert not (secured / "docker").exists()
    assert "Login Succeeded" in minirun("login", "-u", "me", "--password-stdin", PLACE, input="geheim\n").stdout
    done = minirun("--debug", "--explain", "run", "--rm", "--network=none", name, "echo", "it runs")
    assert done.stdout == "it runs\n"
    assert "Downloaded newer image" in done.stderr
    assert "geheim" not in done.stderr
    stated = subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", "--creds=me:geheim", "--format={{.Digest}}", f"docker://{name}"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    digests = minirun("image", "inspect", "--format", "{{json .RepoDigests}}", name).stdout
    assert digests == f'["{PLACE}/class/busybox@{stated}"]\n'
    assert minirun("pull", "-q", name).stdout == f"{name}\n"
    assert "Removing login credentials" in minirun("logout", PLACE).stdout
    assert "Not logged in" in minirun("logout", PLACE).stdout
    minirun("rmi", name)


@pytest.fixture
def make_archive(tmp_path: Path, busybox_rootfs: Path) -> Path:
    """Return a docker archive of busybox."""
    from support.image_archives import docker_archive, entry, tar

    path = tmp_path / "busybox.tar"
    members = docker_archive([busybox_rootfs.read_bytes()], "busybox:1")
    path.write_bytes(tar(*(entry(name, content) for name, content in members.items())))
    return path


def test_an_interrupted_pull_leaves_nothing(minirun: Minirun, host: Host) -> None:  # noqa: ARG001
    """Ctrl-C comes while the server keeps the rest of a layer to itself."""
    layer = files({"file": b"x" * 3_000_000})
    registry = FakeRegistry()
    try:
        registry.add_image("1", [layer])

        def stall(handler: Handler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(layer)))
            handler.end_headers()
            handler.wfile.write(layer[:2_000_000])
            handler.wfile.flush()
            handler.rfile.read(1)  # until the client goes
            handler.close_connection = True

        registry.fail_once(digest(layer), stall)
        process = minirun.start("pull", f"{registry.host}/a:1", stdin=subprocess.DEVNULL)
        eventually(lambda: registry.asked_for(digest(layer)))
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert minirun("images", "-q", f"{registry.host}/a").stdout == ""
        assert list(Path("/var/lib/minirun/ingest").iterdir()) == []
    finally:
        registry.close()
