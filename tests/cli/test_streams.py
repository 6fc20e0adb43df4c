"""Standard streams that cannot be used: closed, opened the wrong way, on a full disk, or without a reader.

Whatever they are, the exit code and the caller's log say what happened, and no container's life depends on them.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.commands import Minirun
    from tests.support.oci_bundles import Bundle, Oci

# What a shell does to the streams of a command, by name.
UNUSABLE = {
    "closed output": ">&-",
    "closed error": "2>&-",
    "closed": "<&- >&- 2>&-",
    "read-only": "0</dev/null 1</dev/null 2</dev/null",
    "full error": "2>/dev/full",
    "full": ">/dev/full 2>/dev/full",
}
each_way = pytest.mark.parametrize("redirection", UNUSABLE.values(), ids=list(UNUSABLE))


def redirected(redirection: str, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command with its streams as the shell's `redirection` says; what is not redirected is returned."""
    shell = ["bash", "-c", f'exec "$@" {redirection}', "bash", *map(str, command)]
    return subprocess.run(shell, capture_output=True, text=True, check=False, timeout=60)


def piped(into: str, *command: str | Path) -> tuple[int, str, str]:
    """Run a command whose output goes to another one; return its own status, the other's output, and all errors."""
    shell = ["bash", "-c", f'"$@" | {into}; exit ${{PIPESTATUS[0]}}', "bash", *map(str, command)]
    done = subprocess.run(shell, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


def logged(path: Path) -> list[str]:
    """Return the messages of a log, which need not exist if there was nothing to say."""
    if not path.exists():
        return []
    return [json.loads(line)["msg"] for line in path.read_text().splitlines()]


@each_way
def test_the_oci_runtimes_caller_finds_the_error_in_its_log(oci: Oci, tmp_path: Path, redirection: str) -> None:
    log = tmp_path / "log"
    options = ("--log", log, "--log-format", "json")
    done = redirected(redirection, *oci.command, *options, "create", "--bundle", "/nonexistent", "y")
    assert done.returncode == 1
    (message,) = logged(log)
    assert "/nonexistent" in message
    assert "Traceback" not in done.stderr


@each_way
def test_debugging_changes_nothing_about_that(oci: Oci, tmp_path: Path, redirection: str) -> None:
    log = tmp_path / "log"
    options = ("--debug", "--log", log, "--log-format", "json")
    assert redirected(redirection, *oci.command, *options, "start", "y").returncode == 1
    assert "not exist" in logged(log)[-1]
    assert redirected(redirection, *oci.command, "--debug", "start", "y").returncode == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--nosuch", "list"], "flag provided but not defined: -nosuch"),
        (["--log-format", "xml", "list"], "invalid log format 'xml'"),
        (["--root"], "flag needs an argument: -root"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_wrong_line_is_told_in_the_log_that_it_names(
    oci: Oci, tmp_path: Path, wrong: list[str], message: str
) -> None:
    log = tmp_path / "log"
    done = redirected("2>/dev/full", *oci.command[:1], "--log", log, *wrong)
    assert done.returncode == 1
    assert message in log.read_text()


@each_way
@pytest.mark.parametrize("words", [["--help"], ["--version"], ["list"], ["state", "x"]], ids=" ".join)
def test_an_answer_that_cannot_be_written_is_an_error_in_the_log(
    oci: Oci, bundle: Bundle, tmp_path: Path, words: list[str], redirection: str
) -> None:
    log = tmp_path / "log"
    if words == ["state", "x"]:
        oci.launch(bundle.command("exec sleep 100"), "x")
    log_options = ["--log", str(log), "--log-format", "json"]
    done = redirected(redirection, *oci.command, *log_options, *words)
    lost = any(word in redirection.split() for word in ("1</dev/null", ">/dev/full"))
    assert done.returncode == int(lost), done.stderr
    assert [message.partition(":")[0] for message in logged(log)] == ["standard output"] * lost
    assert "Traceback" not in done.stderr
    if words == ["state", "x"]:
        oci("delete", "--force", "x")


@each_way
def test_a_container_is_made_whatever_its_streams(oci: Oci, bundle: Bundle, redirection: str) -> None:
    # An unknown capability makes the runtime print a warning.
    bundle.config["process"]["capabilities"]["bounding"].append("CAP_NONSENSE")
    oci.save(bundle, "test -e /proc/1/fd/1 && exit 7")
    done = redirected(redirection, *oci.command, "run", "--bundle", bundle.path, "made")
    assert done.returncode == 7, done.stderr
    assert oci.containers() == []


def test_who_reads_an_oci_runtimes_answer_may_go(oci: Oci, tmp_path: Path) -> None:
    log = tmp_path / "log"
    code, _, errors = piped("exec true", *oci.command, "--log", log, "features")
    assert (code, errors, log.read_text()) in ((0, "", ""), (141, "", ""))
    code, first, errors = piped("head -n 1", *oci.command, "--help")
    assert (code in (0, 141), first, errors) == (True, "NAME:\n", "")


@each_way
@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["run", "--help"], ["ps"], ["info"], ["explain"]], ids=" ".join
)
def test_an_answer_of_minirun_that_cannot_be_written(minirun: Minirun, words: list[str], redirection: str) -> None:
    done = redirected(redirection, minirun.executable, *words)
    lost = any(word in redirection.split() for word in ("1</dev/null", ">/dev/full"))
    assert done.returncode == int(lost), done.stderr
    assert "Traceback" not in done.stderr


@each_way
@pytest.mark.parametrize(
    "words", [["run", "missing"], ["rm", "missing"], ["nonsense"], ["--debug", "logs", "missing"]], ids=" ".join
)
def test_an_error_of_minirun_that_cannot_be_written(minirun: Minirun, words: list[str], redirection: str) -> None:
    done = redirected(redirection, minirun.executable, *words)
    assert done.returncode == (125 if words[0] == "run" else 1)
    assert done.stdout == ""


@each_way
def test_a_container_of_minirun_has_its_exit_code(minirun: Minirun, busybox_image: str, redirection: str) -> None:
    run = (minirun.executable, "run", "--rm", "--network=none")
    assert redirected(redirection, *run, busybox_image, "sh", "-c", "exit 7").returncode == 7
    # Nor is extra output that was asked for, such as the story, a reason to fail.
    assert redirected(redirection, minirun.executable, "--explain", *run[1:], busybox_image, "false").returncode == 1


@each_way
def test_exec_logs_and_inspect(minirun: Minirun, busybox_image: str, redirection: str) -> None:
    minirun("run", "-d", "--name=box", "--network=none", busybox_image, "sh", "-c", "echo said; exec sleep 1000")
    minirun.wait_until("box", "State.Status", "running")
    lost = any(word in redirection.split() for word in ("1</dev/null", ">/dev/full"))
    assert redirected(redirection, minirun.executable, "exec", "box", "sh", "-c", "exit 9").returncode == 9
    for words in (("inspect", "box"), ("top", "box"), ("images",), ("history", busybox_image)):
        done = redirected(redirection, minirun.executable, *words)
        assert done.returncode == int(lost), (words, done.stderr)
        assert "Traceback" not in done.stderr


def test_who_reads_minirun_may_go(minirun: Minirun, busybox_image: str) -> None:
    for words in (["--help"], ["images"], ["explain"], ["inspect", busybox_image]):
        code, lines, errors = piped("head -n 1", minirun.executable, *words)
        assert code in (0, 141), words
        assert (len(lines.splitlines()), errors) == (1, ""), words
    endless = ("run", "--rm", "--network=none", busybox_image, "yes")
    assert piped("head -n 1", minirun.executable, *endless) == (141, "y\n", "")
