"""`login` with and without a terminal, credential helpers, what other programs wrote; no password appears anywhere."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.eventually import eventually
from support.image_archives import files

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.commands import Minirun
    from support.fake_registry import FakeRegistry, Handler
    from support.terminal import Terminal

SECRET = 'geh"eim é'
WANTED = f"Basic {base64.b64encode(f'me:{SECRET}'.encode()).decode()}"


@pytest.fixture
def guarded(registry: FakeRegistry) -> FakeRegistry:
    """A registry with an image "a:1", for whoever knows the password."""
    registry.add_image("1", [files({"file": b"content"})])

    def check(handler: Handler) -> bool:
        if handler.headers.get("Authorization") == WANTED:
            return False
        handler.error(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": 'Basic realm="x"'})
        return True

    registry.faults.append(check)
    return registry


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return where Docker's credentials are, in a directory that is there."""
    (tmp_path / "docker").mkdir()
    return tmp_path / "docker/config.json"


def pulls(minirun: Minirun, registry: FakeRegistry) -> bool:
    """Say whether the image can be pulled, and take it away again."""
    name = f"{registry.host}/a:1"
    done = minirun("pull", "-q", name, check=False)
    assert "geh" not in done.stdout + done.stderr
    if done.returncode == 0:
        minirun("rmi", name)
    return done.returncode == 0


# -- at a terminal -----------------------------------------------------------------------------------------------------
def test_user_and_password_are_asked_for(
    minirun: Minirun, guarded: FakeRegistry, terminal: Callable[..., Terminal], config: Path
) -> None:
    window = terminal("--debug", "--explain", "login", guarded.host)
    window.expect("Username: ")
    window.send("me\n")
    window.expect("Password: ")
    lines = Path(f"/proc/{window.process.pid}/cmdline").read_bytes()
    window.send(f"{SECRET}\n")
    window.expect("Login Succeeded")
    assert window.wait() == 0
    assert window.is_restored()
    assert "geh" not in window.output
    assert b"geh" not in lines
    assert config.stat().st_mode & 0o777 == 0o600
    assert pulls(minirun, guarded)


def test_nothing_of_what_is_typed_is_shown(guarded: FakeRegistry, terminal: Callable[..., Terminal]) -> None:
    window = terminal("login", "-u", "me", guarded.host)
    window.expect("Password: ")
    window.send("falsch\n")
    shown = window.expect(r"(?s).*login attempt to http://[^\n]* failed: [^\n]*\n").group()
    assert window.wait() == 1
    assert "falsch" not in shown + window.output
    assert "Are user and password right?" in window.output


@pytest.mark.parametrize("question", ["Username", "Password"])
@pytest.mark.parametrize("end", ["Ctrl-C", "Ctrl-D", "SIGTERM", "SIGHUP", "SIGINT"])
def test_ended_in_the_middle(
    guarded: FakeRegistry, terminal: Callable[..., Terminal], config: Path, question: str, end: str
) -> None:
    window = terminal("login", guarded.host)
    window.expect("Username: ")
    if question == "Password":
        window.send("me\n")
        window.expect("Password: ")
    if end.startswith("Ctrl"):
        window.send({"Ctrl-C": "\x03", "Ctrl-D": "\x04"}[end])
    else:
        window.process.send_signal(getattr(signal, end))
    assert window.wait() in (130, -getattr(signal, end if end.startswith("SIG") else "SIGINT"))
    assert window.is_restored()
    assert "Traceback" not in window.output
    assert not config.exists()


# -- without one -------------------------------------------------------------------------------------------------------
def test_without_a_terminal_nothing_is_asked(minirun: Minirun, guarded: FakeRegistry) -> None:
    done = minirun("login", guarded.host, input="me\ngeheim\n", check=False)
    assert done.returncode == 1
    assert "Cannot perform an interactive login from a non TTY device" in done.stderr


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_password_on_standard_input(minirun: Minirun, guarded: FakeRegistry, end: str) -> None:
    done = minirun("--debug", "login", "-u", "me", "--password-stdin", guarded.host, input=SECRET + end)
    assert done.stdout == "Login Succeeded\n"
    assert "geh" not in done.stderr
    assert pulls(minirun, guarded)


@pytest.mark.parametrize("given", [b"", b"\n", b"\xff\xfe"])
def test_what_is_no_password(minirun: Minirun, guarded: FakeRegistry, config: Path, given: bytes) -> None:
    done = minirun("login", "-u", "me", "--password-stdin", guarded.host, input=given, check=False)
    assert done.returncode == 1
    assert "internal error" not in done.stderr
    assert not config.exists()


# -- helpers -----------------------------------------------------------------------------------------------------------
KEEPS = "case $1 in store) cat > $kept;; get) cat $kept;; erase) read it; rm $kept;; esac"


@pytest.fixture
def helper(tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that makes docker-credential-test of a shell script, and has it used."""
    path = tmp_path / "bin/docker-credential-test"
    path.parent.mkdir()
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
    config.write_text('{"credsStore": "test"}')

    def make(script: str) -> None:
        path.write_text(f'#!/bin/sh\nkept={tmp_path}/kept\necho "$@" >> {tmp_path}/arguments\n{script}\n')
        path.chmod(0o755)

    return make


def log_in(minirun: Minirun, registry: FakeRegistry, *, code: int = 0) -> str:
    done = minirun(
        *("--debug", "--explain", "login", "-u", "me", "--password-stdin", registry.host), input=SECRET, check=False
    )
    assert done.returncode == code, done.stderr
    assert "geh" not in done.stdout + done.stderr
    return done.stderr


def test_a_helper_keeps_the_password(
    minirun: Minirun, guarded: FakeRegistry, helper: Callable[..., None], tmp_path: Path, config: Path
) -> None:
    helper(KEEPS)
    log_in(minirun, guarded)
    assert pulls(minirun, guarded)
    assert minirun("login", guarded.host).stdout == "Authenticating with existing credentials...\nLogin Succeeded\n"
    assert json.loads(config.read_text()) == {"credsStore": "test", "auths": {guarded.host: {}}}
    assert (tmp_path / "arguments").read_text() == "store\nget\nget\nstore\n"
    minirun("logout", guarded.host)
    assert not (tmp_path / "kept").exists()
    assert "auths" not in config.read_text() or guarded.host not in config.read_text()


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("exit 1", "fails to store credentials"),
        ("cat; exit 1", "fails to store credentials"),
        ("cat >&2; exit 1", "fails to store credentials"),
        ("kill -9 $$", "fails to store credentials"),
    ],
)
def test_a_helper_that_cannot_store(
    minirun: Minirun, guarded: FakeRegistry, helper: Callable[..., None], config: Path, script: str, sentence: str
) -> None:
    helper(script)
    assert f"docker-credential-test {sentence}" in log_in(minirun, guarded, code=1)
    assert json.loads(config.read_text()) == {"credsStore": "test"}


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("echo rubbish", "gives an answer that is not JSON"),
        ("printf '\\377\\033[2J'", "gives an answer that is not JSON"),
        ('echo \'{"Username": null, "Secret": 7}\'', "gives an answer that is not"),
        ("echo '[]'", "gives an answer that is not"),
        ("head -c 100000 /dev/zero | tr '\\0' '['", "gives an answer that is not JSON"),
        ("echo boom; exit 1", "fails to get credentials"),
        ("kill -9 $$", "fails to get credentials"),
    ],
)
def test_a_helper_that_cannot_get(
    minirun: Minirun, guarded: FakeRegistry, helper: Callable[..., None], script: str, sentence: str
) -> None:
    helper(script)
    done = minirun("pull", f"{guarded.host}/a:1", check=False)
    assert done.returncode == 1
    assert f"the credential helper docker-credential-test {sentence}" in done.stderr
    assert done.stderr.count("\n") <= 2


def test_a_helper_that_has_nothing_or_is_none(
    minirun: Minirun, guarded: FakeRegistry, helper: Callable[..., None], tmp_path: Path
) -> None:
    helper("echo 'credentials not found in native keychain'; exit 1")
    done = minirun("pull", f"{guarded.host}/a:1", check=False)
    assert "pull access denied" in done.stderr
    (tmp_path / "bin/docker-credential-test").write_text("#!/nowhere\n")
    assert "cannot be executed" in minirun("pull", f"{guarded.host}/a:1", check=False).stderr
    (tmp_path / "bin/docker-credential-test").unlink()
    assert "is not installed" in minirun("pull", f"{guarded.host}/a:1", check=False).stderr


def test_a_helper_that_takes_its_time_can_be_interrupted(
    minirun: Minirun, guarded: FakeRegistry, helper: Callable[..., None], tmp_path: Path
) -> None:
    helper("exec sleep 1000")
    process = minirun.start("pull", f"{guarded.host}/a:1")
    eventually((tmp_path / "arguments").exists)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    eventually(children.read_text)
    helper_pid = int(children.read_text().split()[0])
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    assert not Path(f"/proc/{helper_pid}").exists(), "it is not left behind"


# -- what others wrote -------------------------------------------------------------------------------------------------
def test_other_programs_credentials(
    minirun: Minirun, guarded: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Podman and skopeo keep theirs in auth.json; what minirun keeps is theirs, too."""
    file = tmp_path / "auth.json"
    words = ["skopeo", "login", "--tls-verify=false", "-u", "me", "--password-stdin", guarded.host]
    subprocess.run([*words, "--authfile", file], input=SECRET.encode(), check=True, capture_output=True)
    assert not pulls(minirun, guarded)
    with monkeypatch.context() as patch:
        patch.setenv("REGISTRY_AUTH_FILE", str(file))
        assert pulls(minirun, guarded)
    (tmp_path / "containers").mkdir()
    file.rename(tmp_path / "containers/auth.json")
    assert pulls(minirun, guarded)
    (tmp_path / "containers/auth.json").unlink()
    log_in(minirun, guarded)
    inspect = ["skopeo", "inspect", "--tls-verify=false", f"docker://{guarded.host}/a:1"]
    assert subprocess.run(inspect, check=True, capture_output=True).stdout


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"auths": []}', '{"auths": {"HOST": 7}}', '{"credsStore": 7}', '{"auths": {"HOST": {"auth": "é"}}}'],
)
def test_a_file_that_is_not_as_it_should_be(minirun: Minirun, guarded: FakeRegistry, config: Path, text: str) -> None:
    config.write_text(text.replace("HOST", guarded.host))
    done = minirun("pull", f"{guarded.host}/a:1", check=False)
    assert done.returncode == 1
    wanted = "cannot be read: it is not JSON" if text in ("{", "[]") else "pull access denied"
    assert wanted in done.stderr
    if wanted.startswith("pull"):
        log_in(minirun, guarded)
        assert pulls(minirun, guarded)
    else:
        assert f"the credentials in {config}" in log_in(minirun, guarded, code=1)
        assert config.read_text() == text


def test_a_link_stays_a_link_and_a_kill_leaves_the_old_file(
    minirun: Minirun, guarded: FakeRegistry, config: Path, tmp_path: Path
) -> None:
    real = tmp_path / "real.json"
    real.write_text('{"psFormat": "x"}')
    config.symlink_to(real)
    log_in(minirun, guarded)
    assert config.is_symlink()
    assert json.loads(real.read_text())["psFormat"] == "x"
    assert [path.name for path in config.parent.iterdir()] == ["config.json"]
