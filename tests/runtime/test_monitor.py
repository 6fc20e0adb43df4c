"""The monitor, driven as `run` drives it: the real program, real children behind pipes and terminals, real clients."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from monitored import LINE, collect, in_background, send_input, wait_for, wait_until_gone
from support.eventually import eventually

from minirun.engine.container import monitor_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from monitored import Monitored


@pytest.mark.parametrize(
    ("script", "code", "number"),
    [("exit 0", 0, 0), ("exit 7", 7, 0), ("exit 300", 44, 0), ("kill -9 $$", 137, 9), ("kill -15 $$", 143, 15)],
)
def test_exit_record_reaches_file_and_client(
    monitored: Callable[..., Monitored], script: str, code: int, number: int
) -> None:
    before = time.time()
    monitor = monitored("sh", "-c", script)
    _, _, record = collect(monitor.control)
    assert record == monitor.exit_record()
    assert (record["code"], record["signal"], record["oom_killed"], record["error"]) == (code, number, False, "")
    assert before - 0.1 <= record["finished_at"] <= time.time() + 0.1


def test_exit_file_of_the_run_before_goes_away_at_the_start(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("cat", subscribe=None)
    monitor.exit_file.write_text("{}")
    monitor_client.say_started(monitor.control)
    wait_for(lambda: not monitor.exit_file.exists())


@pytest.mark.parametrize(("line", "killed"), [("oom_kill 1", True), ("oom_group_kill 2", True), ("oom_kill 0", False)])
def test_oom_kill_is_recorded(monitored: Callable[..., Monitored], tmp_path: Path, line: str, killed: bool) -> None:
    events = tmp_path / "memory.events"
    events.write_text(f"low 0\nhigh 0\nmax 5\noom 3\n{line}\n")
    monitor = monitored("true", options=("--memory-events", str(events)))
    _, _, record = collect(monitor.control)
    assert record is not None
    assert record["oom_killed"] is killed


def test_output_written_before_the_exit_comes_before_the_record(monitored: Callable[..., Monitored]) -> None:
    for _ in range(10):
        monitor = monitored("sh", "-c", "head -c 50000 /dev/zero; echo last >&2; exit 3")
        out, err, record = collect(monitor.control)
        assert (len(out), err) == (50000, b"last\n")
        assert record is not None
        assert record["code"] == 3


def test_a_process_outside_that_holds_the_output_delays_the_exit_by_two_seconds(
    monitored: Callable[..., Monitored],
) -> None:
    monitor = monitored("sh", "-c", "setsid sleep 6 & echo done; exit 5")
    started = time.monotonic()
    out, _, record = collect(monitor.control)
    assert 1.5 < time.monotonic() - started < 4
    assert out == b"done\n"
    assert record is not None
    assert record["code"] == 5


def test_signals_do_not_end_the_monitor(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("cat")
    wait_for(lambda: not Path(f"/proc/{monitor.pid}/cmdline").read_bytes().startswith(b"python"))
    time.sleep(0.1)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGPIPE, signal.SIGUSR1):
        os.kill(monitor.pid, number)
    send_input(monitor.control, b"")
    os.kill(monitor.child, signal.SIGTERM)
    assert collect(monitor.control)[2] is not None


def test_a_bad_option_kills_the_container_and_is_told_in_the_exit_file(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("cat", options=("--nonsense", "1"), subscribe=None)
    assert monitor.wait() == 1
    assert monitor.exit_record()["code"] == 137
    assert monitor.exit_record()["error"] == "monitor: unknown option --nonsense"
    assert not monitor.is_running()
    assert monitor.cleaned.exists()


def test_the_starters_death_before_the_start_kills_and_cleans_up(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("sleep", "60", subscribe=None)
    monitor.control.close()
    assert monitor.wait() == 0
    assert not monitor.is_running()
    assert monitor.cleaned.read_text() == "x\n"
    assert "starter" in monitor.exit_record()["error"]


def test_the_starters_death_is_seen_behind_unread_input(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("sleep", "60", subscribe=None)
    monitor.control.sendall(b"Ai")
    for _ in range(8):
        monitor.control.sendall(b"i" + bytes(LINE))
    monitor.control.close()
    assert monitor.wait() == 0
    assert not monitor.is_running()


def test_a_starter_that_cleans_up_is_left_to_it(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("true")
    collect(monitor.control)
    monitor_client.say_cleaned(monitor.control)
    assert monitor.wait() == 0
    assert not monitor.cleaned.exists()


def test_a_starter_that_goes_before_it_cleans_up_is_replaced(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("true")
    collect(monitor.control)
    assert not monitor.cleaned.exists()
    monitor.control.close()
    assert monitor.wait() == 0
    assert monitor.cleaned.read_text() == "x\n"


def test_a_detached_starter_is_not_waited_for(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("sleep", "0.1")
    monitor_client.say_detached(monitor.control)
    assert monitor.wait() == 0
    assert monitor.cleaned.read_text() == "x\n"


def test_a_killed_client_leaves_the_container_running(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("sh", "-c", "while echo y; do :; done", log=False)
    client = os.fork()
    if client == 0:
        sock = monitor.connect("oe")
        while sock.recv(40000):
            pass
        os._exit(0)
    monitor.control.close()
    time.sleep(0.2)
    os.kill(client, signal.SIGKILL)
    os.waitpid(client, 0)
    after = monitor.connect("o")
    assert after.recv(40000)[:3] == b"oy\n"
    assert monitor.is_running()
    after.close()
    os.kill(monitor.child, signal.SIGKILL)
    assert monitor.wait() == 0
    assert monitor.exit_record()["code"] == 137
    assert monitor.cleaned.read_text() == "x\n"


def test_clients_see_the_end_of_file_only_when_all_is_unmade(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("true")
    client = monitor.connect("")
    monitor.control.close()
    assert monitor_client.wait_exit(client) is not None
    wait_until_gone(client)
    assert monitor.cleaned.exists()


def test_without_a_cleanup_command_the_monitor_just_ends(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("true", cleanup=False)
    monitor.control.close()
    assert monitor.wait() == 0
    assert monitor.exit_record()["code"] == 0


def test_the_cleanup_command_inherits_no_descriptor_and_no_signal_mask(
    monitored: Callable[..., Monitored], tmp_path: Path
) -> None:
    report = tmp_path / "report"
    script = f"readlink /proc/self/fd/* > {report}; grep -E '^Sig(Blk|Ign)' /proc/self/status >> {report}"
    monitor = monitored("true", cleanup=False, options=("--cleanup", "sh", "-c", script))
    monitor.control.close()
    assert monitor.wait() == 0
    lines = report.read_text().splitlines()
    assert not [line for line in lines if "socket" in line or "pipe" in line or "memory" in line]
    assert next(line.split() for line in lines if line.startswith("Sig")) == ["SigBlk:", "0" * 16]


def test_kept_descriptors_stay_open_until_everything_is_unmade(
    monitored: Callable[..., Monitored], tmp_path: Path
) -> None:
    import fcntl

    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.set_inheritable(lock, True)
    monitor = monitored("sleep", "0.2", options=("--keep", str(lock)))
    os.close(lock)
    monitor.control.close()
    held = 0
    lock = os.open(tmp_path / "lock", os.O_RDWR)
    while not monitor.cleaned.exists():
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held += 1
        time.sleep(0.01)
    assert held > 5
    monitor.wait()
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(lock)


def test_memory_stays_under_a_megabyte(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("cat", subscribe="io", options=("--stdin-once",))
    clients = [monitor.connect("o") for _ in range(5)]
    readers = [in_background(lambda client=client: collect(client)) for client in clients]  # type: ignore[misc]
    in_background(lambda: [monitor.control.sendall(b"i" + b"\x01\n" * 8000) for _ in range(50)])
    received = 0
    while received < 50 * 16000:
        received += len(monitor.control.recv(40000)) - 1
    assert monitor.memory() < 1024
    monitor.control.sendall(b"c")
    for reader in readers:
        reader.join(20)


def test_an_idle_monitor_does_nothing(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("sleep", "60")

    def rests() -> bool:
        """Say whether nothing wakes it for a while; on a busy machine it takes a moment before it begins to wait."""
        before, _ = switches(monitor.pid), time.sleep(0.5)
        return switches(monitor.pid) == before

    eventually(rests)


def switches(pid: int) -> list[str]:
    """Return the kernel's counts of switches of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return [line for line in status.splitlines() if "ctxt_switches" in line]
