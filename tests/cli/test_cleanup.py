"""Nothing stays behind: after many containers, and after kill -9 of any of minirun's processes at any moment.

The events of --explain=json are the clock: they show how far a command has come, and the pid of each process.
"""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.commands import Minirun
    from tests.support.leftovers import Leftovers

BUNDLES = Path("/run/minirun/bundles")
OPTIONS = ("--rm", "--volume=/anonymous", "--name=victim", "--publish=18090:80")


# -- many -------------------------------------------------------------------------------------------------------------
def test_two_hundred_containers_in_batches(minirun: Minirun, busybox_image: str, leftovers: Leftovers) -> None:
    addresses = "ip -4 -o address show eth0 | awk '{print $4}'"
    for batch in range(3):
        running = [
            minirun.start("run", "--rm", "-p", f"{20000 + i}:80", busybox_image, "sh", "-c", addresses)
            for i in range(50)
        ]
        outputs = [process.communicate(timeout=120) for process in running]
        assert [process.returncode for process in running] == [0] * 50, (batch, {error for _, error in outputs})
        assert all(ipaddress.ip_interface(output.decode().strip()) for output, _ in outputs)
    leftovers.check()


def test_fifty_at_once_have_addresses_of_their_own(minirun: Minirun, busybox_image: str, leftovers: Leftovers) -> None:
    running = [minirun.start("run", "-d", "--rm", busybox_image, "sleep", "1000") for _ in range(50)]
    outputs = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0] * 50, {error for _, error in outputs}
    ids = [output.decode().strip() for output, _ in outputs]
    documents = json.loads(minirun("inspect", *ids).stdout)
    assert len({document["NetworkSettings"]["IPAddress"] for document in documents}) == 50
    assert len({document["NetworkSettings"]["MacAddress"] for document in documents}) == 50
    minirun("rm", "--force", *ids)
    leftovers.check(timeout=15)


# -- kill -9, by the clock --------------------------------------------------------------------------------------------
def killed_run(minirun: Minirun, image: str, moment: int, victim: str, *command: str) -> list[dict[str, Any]]:
    """Run a container and kill -9 a process at the event with the number `moment`; return the events until then.

    `victim` is "command" for the process that the user has started, or the name of another process of minirun's.
    """
    process = subprocess.Popen(
        [minirun.executable, "--explain=json", "run", *OPTIONS, image, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    events: list[dict[str, Any]] = []
    pids = {"command": process.pid}
    assert process.stderr is not None
    for line in process.stderr:
        events.append(json.loads(line))
        pids.setdefault(events[-1]["process"], events[-1]["pid"])
        if len(events) > moment and victim in pids:
            try:
                os.kill(pids[victim], signal.SIGKILL)
            except ProcessLookupError:
                pass  # it has ended by itself: an end like any other
            break
    # The events are not read to the end: a process that waits for its start forever still holds the pipe.
    process.stderr.close()
    process.wait(timeout=20)
    return events


def events_of_a_run(minirun: Minirun, image: str) -> list[dict[str, Any]]:
    done = minirun("--explain=json", "run", *OPTIONS, image, "true")
    return [json.loads(line) for line in done.stderr.splitlines()]


def check_after(minirun: Minirun, leftovers: Leftovers, image: str) -> None:
    """The next command finds everything, and what the killed one had taken is free again."""
    minirun("ps", "--all")
    leftovers.check()
    minirun("run", *OPTIONS, image, "true")
    leftovers.check()


@pytest.mark.parametrize("share", [0.0, 0.04, 0.075, 0.09, 0.2, 0.5, 0.85, 0.9, 0.93, 0.96, 0.98, 1.0])
def test_kill_of_the_command(minirun: Minirun, busybox_image: str, leftovers: Leftovers, share: float) -> None:
    moment = int(share * (len(events_of_a_run(minirun, busybox_image)) - 1))
    killed_run(minirun, busybox_image, moment, "command", "true")
    eventually(lambda: not BUNDLES.is_dir() or not any(minirun_processes()), timeout=20)
    check_after(minirun, leftovers, busybox_image)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.075, 0.3, 0.88])
def test_kill_of_the_builder(minirun: Minirun, busybox_image: str, leftovers: Leftovers, share: float) -> None:
    moment = int(share * (len(events_of_a_run(minirun, busybox_image)) - 1))
    killed_run(minirun, busybox_image, moment, "shim", "true")
    check_after(minirun, leftovers, busybox_image)


@pytest.mark.parametrize("victim", ["container", "network helper"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_kill_of_the_others(
    minirun: Minirun, busybox_image: str, leftovers: Leftovers, victim: str, share: float
) -> None:
    moment = int(share * (len(events_of_a_run(minirun, busybox_image)) - 1))
    killed_run(minirun, busybox_image, moment, victim, "true")
    check_after(minirun, leftovers, busybox_image)


def minirun_processes() -> Iterator[int]:
    """Return those of minirun's processes that hold the lock of a bundle: shims and monitors."""
    found = [path.stat() for path in BUNDLES.glob("*/monitor.lock")]
    locks = {f"{os.major(s.st_dev):02x}:{os.minor(s.st_dev):02x}:{s.st_ino}" for s in found}  # proc_locks(5)
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5] in locks:
            yield int(fields[4])


# -- kill -9 of what runs ---------------------------------------------------------------------------------------------
def monitor_of(minirun: Minirun, name: str) -> int:
    pid = minirun.inspect(name)["State"]["Pid"]
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_kill_of_the_monitor(minirun: Minirun, busybox_image: str, leftovers: Leftovers) -> None:
    minirun("run", "-d", *OPTIONS, busybox_image, "sh", "-c", "sleep 1000 & sleep 1000")
    os.kill(monitor_of(minirun, "victim"), signal.SIGKILL)
    check_after(minirun, leftovers, busybox_image)


def test_kill_of_the_monitor_of_a_container_that_is_kept(
    minirun: Minirun, busybox_image: str, leftovers: Leftovers
) -> None:
    minirun("run", "-d", "--name=kept", "-p", "18090:80", busybox_image, "sleep", "1000")
    os.kill(monitor_of(minirun, "kept"), signal.SIGKILL)
    state = minirun.inspect("kept")["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 137)
    assert "monitor" in state["Error"]
    minirun("start", "kept")
    assert minirun.inspect("kept")["State"]["Running"]
    minirun("rm", "-f", "kept")
    leftovers.check()


def test_kill_of_the_monitor_under_a_foreground_command(
    minirun: Minirun, busybox_image: str, leftovers: Leftovers
) -> None:
    process = minirun.start("run", *OPTIONS, busybox_image, "sh", "-c", "echo up; sleep 1000")
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    os.kill(monitor_of(minirun, "victim"), signal.SIGKILL)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 125
    assert b"monitor has died" in error
    check_after(minirun, leftovers, busybox_image)


def test_kill_of_the_foreground_command_leaves_the_container_running(
    minirun: Minirun, busybox_image: str, leftovers: Leftovers
) -> None:
    script = "echo up; until [ -e /end ]; do sleep 0.02; done; echo more"
    process = minirun.start("run", *OPTIONS, busybox_image, "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.kill()
    process.communicate()
    assert minirun.inspect("victim")["State"]["Running"]
    minirun("exec", "victim", "touch", "/end")
    eventually(lambda: minirun("ps", "-aq").stdout == "")
    check_after(minirun, leftovers, busybox_image)


def test_kill_of_the_container_itself(minirun: Minirun, busybox_image: str, leftovers: Leftovers) -> None:
    minirun("run", "-d", "--name=killed", busybox_image, "sleep", "1000")
    os.kill(minirun.inspect("killed")["State"]["Pid"], signal.SIGKILL)
    assert minirun("wait", "killed").stdout == "137\n"
    minirun("rm", "killed")
    leftovers.check()


def test_kill_of_exec_and_of_rm(minirun: Minirun, busybox_image: str, leftovers: Leftovers) -> None:
    minirun("run", "-d", *OPTIONS, busybox_image, "sleep", "1000")
    for delay in (0.02, 0.1, 0.2):
        process = minirun.start("exec", "victim", "sleep", "1000")
        time.sleep(delay)
        process.kill()
    assert minirun.inspect("victim")["State"]["Running"]
    removing = minirun.start("rm", "-f", "victim")
    time.sleep(0.15)
    removing.kill()
    removing.communicate()
    minirun("rm", "-f", "victim")
    leftovers.check()


def test_kill_everything_at_once(minirun: Minirun, busybox_image: str, leftovers: Leftovers) -> None:
    """What a machine that runs out of memory does."""
    running = [minirun.start("run", "--rm", busybox_image, "sleep", "1000") for _ in range(5)]
    time.sleep(0.5)
    for process in running:
        process.kill()
    for pid in set(minirun_processes()):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    for process in running:
        process.communicate()
    minirun("ps")
    for container in minirun("ps", "-aq").stdout.split():
        minirun("rm", "-f", container)
    check_after(minirun, leftovers, busybox_image)


def test_records_that_a_crash_of_the_machine_has_emptied(minirun: Minirun, busybox_image: str) -> None:
    damaged = minirun("create", "--name=damaged", busybox_image).stdout.strip()
    ended = minirun("create", "--name=ended", busybox_image).stdout.strip()
    containers = Path("/var/lib/minirun/containers")
    (containers / damaged / "record.json").write_bytes(b"")
    (containers / ended / "exit.json").write_bytes(b"")
    listed = minirun("ps", "-a", "--format", "{{.Names}} {{.Status}}").stdout.splitlines()
    assert sorted(line.partition(" (")[0] for line in listed) == ["damaged Created", "ended Exited"]
    assert minirun("rm", damaged).stdout == f"{damaged}\n"
    assert minirun("run", "--rm", busybox_image, "echo", "x").stdout == "x\n"
