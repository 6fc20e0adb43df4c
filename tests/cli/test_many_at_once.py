"""stop, kill, restart and rm of several containers: none waits for another's end, and no error stops the others."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.commands import Minirun
    from tests.support.leftovers import Leftovers

NAMES = [f"one{number}" for number in range(6)]
STUBBORN = "trap : TERM; echo up; while :; do sleep 0.05; done"


def start(minirun: Minirun, image: str, *command: str) -> None:
    for name in NAMES:
        minirun("run", "-d", "--network=none", f"--name={name}", image, *command)


def states(minirun: Minirun) -> dict[str, str]:
    lines = minirun("ps", "-a", "--format", "{{.Names}} {{.State}}").stdout.splitlines()
    return dict(line.split() for line in lines)


def test_times_to_wait_run_at_once(minirun: Minirun, busybox_image: str) -> None:
    start(minirun, busybox_image, "sh", "-c", STUBBORN)
    for name in NAMES:
        eventually(lambda name=name: "up" in minirun("logs", name).stdout)  # type: ignore[misc]  # the trap is set
    began = time.monotonic()
    assert minirun("stop", "-t", "5", *NAMES).stdout.split() == NAMES
    assert time.monotonic() - began < 5 * len(NAMES) / 2
    assert set(states(minirun).values()) == {"exited"}
    assert minirun.inspect(NAMES[-1])["State"]["ExitCode"] == 137


@pytest.mark.parametrize("command", ["stop -t 1", "kill", "restart -t 1", "rm -f"])
def test_in_the_order_asked_and_all_but_the_wrong(minirun: Minirun, busybox_image: str, command: str) -> None:
    start(minirun, busybox_image, "sleep", "1000")
    asked = [NAMES[3], "missing", *(name for name in NAMES if name != NAMES[3])]
    done = minirun(*command.split(), *asked, check=False)
    assert done.stdout.split() == [name for name in asked if name != "missing"]
    assert "No such container: missing" in done.stderr
    assert done.returncode == (0 if command == "rm -f" else 1)
    expected = {"restart -t 1": dict.fromkeys(NAMES, "running"), "rm -f": {}}
    assert states(minirun) == expected.get(command, dict.fromkeys(NAMES, "exited"))


def test_rm_without_force_spares_what_runs(minirun: Minirun, busybox_image: str) -> None:
    minirun("run", "-d", "--network=none", "--name=runs", busybox_image, "sleep", "1000")
    minirun("create", "--name=idle", busybox_image)
    done = minirun("rm", "runs", "idle", check=False)
    assert (done.returncode, done.stdout) == (1, "idle\n")
    assert "You cannot remove a running container" in done.stderr
    assert states(minirun) == {"runs": "running"}


def test_a_container_that_is_named_twice(minirun: Minirun, busybox_image: str) -> None:
    container = minirun("run", "-d", "--network=none", "--name=twice", busybox_image, "sleep", "1000").stdout.strip()
    assert minirun("rm", "-f", "twice", container, "twice").stdout.split() == ["twice", container, "twice"]
    assert states(minirun) == {}


def test_ended_at_once_with_networks_and_rm(minirun: Minirun, busybox_image: str, leftovers: Leftovers) -> None:
    for number, name in enumerate(NAMES):
        options = ("--rm", "-v", "/anonymous", "-p", f"{18600 + number}:80")
        minirun("run", "-d", f"--name={name}", *options, busybox_image, "sleep", "1000")
    minirun("pause", NAMES[0])
    minirun("kill", *NAMES[:3])
    minirun("rm", "-f", *NAMES[3:])
    eventually(lambda: states(minirun) == {})
    leftovers.check()


def test_who_runs_in_the_foreground_cleans_up(minirun: Minirun, busybox_image: str, leftovers: Leftovers) -> None:
    process = minirun.start("run", "--rm", "--name=front", busybox_image, "sh", "-c", "echo up; sleep 1000")
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    minirun("rm", "-f", "front")
    assert process.wait(timeout=20) == 137
    leftovers.check()


def test_who_offers_to_clean_up_and_is_killed(minirun: Minirun, busybox_image: str, leftovers: Leftovers) -> None:
    for delay in (0.1, 0.2, 0.3, 0.4, 0.5):
        start(minirun, busybox_image, "sleep", "1000")
        process = minirun.start("rm", "-f", *NAMES)
        try:
            process.wait(timeout=delay)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        minirun("rm", "-f", *NAMES)
        assert states(minirun) == {}
    leftovers.check()


@contextlib.contextmanager
def no_firewall() -> Iterator[None]:
    """Make every call of iptables fail."""
    programs = {Path("/usr/sbin", name).resolve() for name in ("iptables-restore", "iptables-save")}
    for path in programs:
        subprocess.run(["mount", "--bind", "/bin/false", path], check=True)
    try:
        yield
    finally:
        for path in programs:
            subprocess.run(["umount", path], check=True)


def test_garbage_that_cannot_be_collected_is_a_warning(
    minirun: Minirun, busybox_image: str, leftovers: Leftovers
) -> None:
    """A container whose monitor was killed: its rules have to be removed, but iptables fails."""
    minirun("run", "-d", "--name=there", "-p", "18700:80", busybox_image, "sleep", "1000")
    first = minirun.inspect("there")["State"]["Pid"]
    monitor = Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[1]
    with no_firewall():
        os.kill(int(monitor), signal.SIGKILL)
        done = minirun("ps", "-aq")
        assert len(done.stdout.split()) == 1
        assert "minirun: warning: cannot clean up what an earlier command has left" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert minirun("run", "--rm", "--network=none", busybox_image, "echo", "x").stdout == "x\n"
    assert minirun("ps", "-aq").stderr == ""
    assert minirun("rm", "there").stdout == "there\n"
    leftovers.check()
