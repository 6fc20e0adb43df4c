"""A container's life from `create` to `rm`."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.commands import Minirun
    from tests.support.leftovers import Leftovers

    MakeImage = Callable[..., str]
    RunInBackground = Callable[..., str]

SLEEP = ("sleep", "1000")


def state(minirun: Minirun, name: str) -> dict[str, Any]:
    found: dict[str, Any] = minirun.inspect(name)["State"]
    return found


# -- identity ---------------------------------------------------------------------------------------------------------
def test_detached_run_prints_the_id_and_nothing_else(minirun: Minirun, busybox_image: str) -> None:
    done = minirun("run", "-d", busybox_image, "sh", "-c", "echo output")
    assert re.fullmatch(r"[0-9a-f]{64}\n", done.stdout)
    assert done.stderr == ""


def test_names_and_unique_beginnings_of_ids_resolve_everywhere(minirun: Minirun, background: RunInBackground) -> None:
    container = background("by-name")
    for name in ("by-name", "/by-name", container, container[:12], container[:7]):
        assert minirun.inspect(name)["Id"] == container
        assert minirun("exec", name, "echo", "x").stdout == "x\n"
        assert container[:12] in minirun("ps").stdout
    assert minirun("kill", container[:12]).stdout == f"{container[:12]}\n"
    assert minirun("wait", container[:12]).stdout == "137\n"
    assert minirun("rm", container[:9]).stdout == f"{container[:9]}\n"


def test_a_name_clash_names_the_holder(minirun: Minirun, background: RunInBackground, busybox_image: str) -> None:
    container = background("taken")
    for command in ("run", "create"):
        done = minirun(command, "--name=taken", busybox_image, "true", check=False)
        assert done.returncode == (125 if command == "run" else 1)
        assert container in done.stderr
    assert minirun("ps", "-aq").stdout.split() == [container[:12]]


@pytest.mark.parametrize("name", ["-x", ".x", "a", "a b", "ä-name", "a/b", "_ab"])
def test_bad_names(minirun: Minirun, busybox_image: str, name: str) -> None:
    done = minirun("run", f"--name={name}", busybox_image, "true", check=False)
    assert done.returncode == 125
    assert "container name" in done.stderr


def test_container_id_file(minirun: Minirun, busybox_image: str, tmp_path: Path) -> None:
    file = tmp_path / "cid"
    minirun("run", "--cidfile", file, busybox_image, "true")
    assert re.fullmatch(r"[0-9a-f]{64}", file.read_text())
    before = file.read_text()
    done = minirun("run", "--cidfile", file, busybox_image, "true", check=False)
    assert done.returncode == 125
    assert file.read_text() == before
    assert len(minirun("ps", "-aq").stdout.split()) == 1


def test_generated_names_are_unique_and_valid(minirun: Minirun, busybox_image: str) -> None:
    for _ in range(5):
        minirun("create", busybox_image)
    names = minirun("ps", "-a", "--format", "{{.Names}}").stdout.split()
    assert len(set(names)) == 5
    assert all(re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", name) for name in names)


# -- create, start, restart -------------------------------------------------------------------------------------------
def test_create_and_start(minirun: Minirun, busybox_image: str) -> None:
    minirun("create", "--name=made", "--network=none", busybox_image, "sh", "-c", "echo once; exit 3")
    assert state(minirun, "made")["Status"] == "created"
    assert minirun("ps").stdout.count("\n") == 1
    assert "Created" in minirun("ps", "-a").stdout
    done = minirun("start", "--attach", "made", check=False)
    assert (done.returncode, done.stdout) == (3, "once\n")
    ended = state(minirun, "made")
    assert (ended["Status"], ended["ExitCode"]) == ("exited", 3)
    assert "Exited (3)" in minirun("ps", "-a").stdout
    assert minirun("start", "made").stdout == "made\n"
    assert minirun("wait", "made").stdout == "3\n"
    assert minirun("logs", "made").stdout == "once\nonce\n"


def test_starting_what_runs_changes_nothing(minirun: Minirun, background: RunInBackground) -> None:
    background("running")
    pid = state(minirun, "running")["Pid"]
    assert minirun("start", "running").stdout == "running\n"
    assert state(minirun, "running")["Pid"] == pid


def test_what_was_written_survives_ends_in_the_background(minirun: Minirun, background: RunInBackground) -> None:
    background("writer", command=("sh", "-c", "echo line >> /file; wc -l < /file; ls /bin | wc -l"))
    for _ in range(2):
        minirun("wait", "writer")
        minirun("start", "writer")
    minirun("wait", "writer")
    lines = minirun("logs", "writer").stdout.split()
    assert lines[::2] == ["1", "2", "3"]
    assert len(set(lines[1::2])) == 1


def test_restart(minirun: Minirun, background: RunInBackground) -> None:
    background("again", command=("sh", "-c", "echo up; trap 'exit 0' TERM; while :; do sleep 0.02; done"))
    first = state(minirun, "again")
    eventually(lambda: minirun("logs", "again").stdout == "up\n")
    assert minirun("restart", "again").stdout == "again\n"
    second = state(minirun, "again")
    assert second["Running"]
    assert second["Pid"] != first["Pid"]
    assert second["StartedAt"] > first["StartedAt"]
    eventually(lambda: minirun("logs", "again").stdout == "up\nup\n")


def test_start_interactive(minirun: Minirun, busybox_image: str) -> None:
    minirun("create", "-i", "--name=reader", "--network=none", busybox_image, "cat")
    assert minirun("start", "-ai", "reader", input="typed\n").stdout == "typed\n"


def test_a_start_that_fails_leaves_the_container_as_it_was(
    minirun: Minirun, busybox_image: str, leftovers: Leftovers
) -> None:
    minirun("create", "--name=wrong", busybox_image, "no-such-command")
    done = minirun("start", "wrong", check=False)
    assert done.returncode != 0
    assert "executable file not found" in done.stderr
    assert state(minirun, "wrong")["Status"] in ("created", "exited")
    minirun("rm", "wrong")
    leftovers.check()


# -- stop, kill, pause ------------------------------------------------------------------------------------------------
def test_stop_kills_after_its_timeout(minirun: Minirun, background: RunInBackground) -> None:
    background("deaf")
    started = time.monotonic()
    assert minirun("stop", "-t", "1", "deaf").stdout == "deaf\n"
    assert 1 <= time.monotonic() - started < 4
    assert state(minirun, "deaf")["ExitCode"] == 137


def test_stop_of_a_container_that_listens(minirun: Minirun, background: RunInBackground) -> None:
    background("init", "--init")
    background("image", "--stop-signal", "INT", "--init")
    background("own", "--stop-timeout", "0")
    started = time.monotonic()
    minirun("stop", "init", "image", "own")
    assert time.monotonic() - started < 5
    assert [state(minirun, name)["ExitCode"] for name in ("init", "image", "own")] == [143, 130, 137]
    minirun("stop", "init")


def test_kill(minirun: Minirun, background: RunInBackground) -> None:
    background("victim", command=("sh", "-c", "trap 'echo usr1' USR1; echo up; while :; do sleep 0.02; done"))
    eventually(lambda: minirun("logs", "victim").stdout == "up\n")
    expected = "up\n"
    for spelling in ("USR1", "SIGUSR1", "10", "usr1"):
        minirun("kill", "--signal", spelling, "victim")
        expected += "usr1\n"
        eventually(lambda: minirun("logs", "victim").stdout == expected)  # noqa: B023 - it is called at once
    done = minirun("kill", "--signal", "NONSENSE", "victim", check=False)
    assert done.returncode == 1
    assert "NONSENSE" in done.stderr
    assert minirun("kill", "victim").stdout == "victim\n"
    assert state(minirun, "victim")["ExitCode"] == 137
    done = minirun("kill", "victim", check=False)
    assert done.returncode == 1
    assert "is not running" in done.stderr


def test_pause(minirun: Minirun, background: RunInBackground) -> None:
    background("frozen", command=("sh", "-c", "while :; do echo x; sleep 0.02; done"))
    minirun("pause", "frozen")
    assert state(minirun, "frozen")["Paused"] is True
    assert "(Paused)" in minirun("ps").stdout
    count = len(minirun("logs", "frozen").stdout)
    time.sleep(0.2)
    assert len(minirun("logs", "frozen").stdout) == count
    done = minirun("exec", "frozen", "true", check=False)
    assert done.returncode == 1
    assert "paused" in done.stderr
    assert minirun("pause", "frozen", check=False).returncode == 1
    minirun("unpause", "frozen")
    eventually(lambda: len(minirun("logs", "frozen").stdout) > count)
    assert minirun("unpause", "frozen", check=False).returncode == 1
    minirun("pause", "frozen")
    minirun("rm", "-f", "frozen")
    background("stopped-when-paused")
    minirun("pause", "stopped-when-paused")
    minirun("stop", "-t", "0", "stopped-when-paused")
    assert state(minirun, "stopped-when-paused")["Status"] == "exited"


# -- wait, rename, rm -------------------------------------------------------------------------------------------------
def test_wait(minirun: Minirun, background: RunInBackground) -> None:
    background("ending", command=("sh", "-c", "sleep 0.5; exit 12"))
    waiting = minirun.start("wait", "ending", "ending")
    assert waiting.communicate(timeout=10)[0] == b"12\n12\n"


def test_rename(minirun: Minirun, background: RunInBackground, busybox_image: str) -> None:
    container = background("old-name")
    background("other")
    minirun("rename", "old-name", "new-name")
    assert minirun.inspect("new-name")["Id"] == container
    assert minirun.inspect("new-name")["Name"] == "/new-name"
    assert minirun("inspect", "old-name", check=False).returncode == 1
    minirun("create", "--name=old-name", busybox_image)
    done = minirun("rename", "new-name", "other", check=False)
    assert done.returncode == 1
    assert "in use" in done.stderr
    assert minirun("rename", "new-name", "/bad name", check=False).returncode == 1


def test_rm_of_a_container_that_is_being_started(minirun: Minirun, busybox_image: str, leftovers: Leftovers) -> None:
    container = minirun("create", "--name", "starting", busybox_image, *SLEEP).stdout.strip()
    starting = minirun.start("start", "starting")
    eventually(Path(f"/run/minirun/bundles/{container}/monitor.lock").exists)
    starting.send_signal(signal.SIGSTOP)
    removing = minirun.start("rm", "-f", "starting")
    time.sleep(0.5)  # it waits for the lock by now
    starting.send_signal(signal.SIGCONT)
    assert removing.wait(timeout=20) == 0
    starting.wait(timeout=20)
    leftovers.check()


def test_rm(minirun: Minirun, background: RunInBackground, leftovers: Leftovers) -> None:
    background("running")
    done = minirun("rm", "running", check=False)
    assert done.returncode == 1
    assert "running" in done.stderr
    assert state(minirun, "running")["Running"]
    assert minirun("rm", "-f", "running").stdout == "running\n"
    done = minirun("rm", "-f", "missing", check=False)
    assert done.returncode == 0
    assert "missing" in done.stderr
    assert minirun("rm", "missing", check=False).returncode == 1
    leftovers.check()


def test_one_wrong_name_among_several(minirun: Minirun, background: RunInBackground) -> None:
    background("first")
    background("second")
    done = minirun("rm", "-f", "first", "second")
    assert done.stdout == "first\nsecond\n"
    background("third")
    done = minirun("stop", "-t", "0", "missing", "third", check=False)
    assert (done.returncode, done.stdout) == (1, "third\n")
    assert "No such container: missing" in done.stderr


# -- auto-removal -----------------------------------------------------------------------------------------------------
def test_rm_removes_when_the_container_ends(
    minirun: Minirun, background: RunInBackground, leftovers: Leftovers
) -> None:
    until_told = ("sh", "-c", "until [ -e /end ]; do sleep 0.02; done")
    background("short", "--rm", "-v", "/anonymous", command=until_told)
    assert minirun("ps", "-q").stdout
    minirun("exec", "short", "touch", "/end")
    eventually(lambda: minirun("ps", "-aq").stdout == "")
    background("long", "--rm")
    minirun("stop", "-t", "0", "long")
    assert minirun("ps", "-aq").stdout == ""
    leftovers.check()
