"""The monitor, driven as `run` drives it: the real program, real children behind pipes and terminals, real clients."""

from __future__ import annotations

import codecs
import json
import os
import select
import signal
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from eventually import eventually
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monitored import wait_until_gone

from minirun.engine.container import monitor_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from monitored import Monitored

LINE = 16 << 10  # the longest piece of a line in the log


def collect(sock: socket.socket, *, until_exit: bool = True) -> tuple[bytes, bytes, dict[str, Any] | None]:
    """Return standard output, standard error and the exit record that a client gets."""
    streams = {b"o": bytearray(), b"e": bytearray()}
    while message := monitor_client.receive(sock):
        if message[:1] == b"x":
            return bytes(streams[b"o"]), bytes(streams[b"e"]), json.loads(message[1:])
        if message[:1] in streams:
            streams[message[:1]] += message[1:]
    assert not until_exit, "the connection ended without an exit record"
    return bytes(streams[b"o"]), bytes(streams[b"e"]), None


def send_input(sock: socket.socket, data: bytes) -> None:
    for start in range(0, len(data), LINE):
        sock.sendall(b"i" + data[start : start + LINE])
    sock.sendall(b"c")


def in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def wait_for(condition: Callable[[], object], timeout: float = 10) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.005)


# -- the exit --------------------------------------------------------------------------------------------------------


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


# -- who cleans up ---------------------------------------------------------------------------------------------------


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


# -- streams ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("log", [False, True])
def test_a_megabyte_of_random_bytes_comes_back_identical(monitored: Callable[..., Monitored], log: bool) -> None:
    data = os.urandom(1 << 20)
    monitor = monitored("cat", log=log, subscribe="ioe", options=("--stdin-once",))
    sender = in_background(lambda: send_input(monitor.control, data))
    out, err, record = collect(monitor.control)
    sender.join()
    assert out == data
    assert err == b""
    assert record is not None
    assert record["code"] == 0
    if log:
        assert "".join(entry["log"] for entry in monitor.entries()) == go_decode(data)


def test_standard_input_ends_only_with_stdin_once(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("cat", subscribe="ioe")
    monitor.control.sendall(b"ione")
    monitor.control.sendall(b"c")
    assert monitor.control.recv(100) == b"oone"
    other = monitor.connect("io")
    other.sendall(b"itwo")
    assert other.recv(100) == b"otwo"
    other.close()
    third = monitor.connect("io")
    third.sendall(b"ithree")
    assert third.recv(100) == b"othree"


def test_with_stdin_once_a_client_that_hangs_up_ends_the_input(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("cat", options=("--stdin-once",))
    client = monitor.connect("i")
    client.sendall(b"ilast words")
    client.close()
    out, _, record = collect(monitor.control)
    assert out == b"last words"
    assert record is not None
    assert record["code"] == 0


def test_input_beyond_the_buffer_waits_for_the_container(monitored: Callable[..., Monitored]) -> None:
    data = os.urandom(1 << 20)
    monitor = monitored("sh", "-c", "sleep 0.5; cat", subscribe="ioe", options=("--stdin-once",))
    sender = in_background(lambda: send_input(monitor.control, data))
    time.sleep(0.3)
    assert sender.is_alive(), "a megabyte was taken although nobody read it"
    assert collect(monitor.control)[0] == data
    sender.join()


def test_input_for_a_container_that_does_not_read_is_dropped(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("sh", "-c", "exec <&-; sleep 0.5; echo alive", subscribe="ioe")
    time.sleep(0.2)
    send_input(monitor.control, bytes(1 << 20))
    assert collect(monitor.control)[0] == b"alive\n"


def test_a_client_without_subscription_gets_nothing(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("sh", "-c", "echo out; echo err >&2; read line", subscribe="e")
    assert monitor.control.recv(100) == b"eerr\n"
    assert not select.select([monitor.control], [], [], 0.1)[0]


def test_a_slow_client_stops_the_container_and_loses_nothing(
    monitored: Callable[..., Monitored], tmp_path: Path
) -> None:
    total = 8 << 20
    copy = tmp_path / "copy"
    monitor = monitored("sh", "-c", f"head -c {total} /dev/urandom | tee {copy}", log=False)
    wait_for(copy.exists)
    time.sleep(0.5)
    written = copy.stat().st_size
    time.sleep(0.3)
    assert copy.stat().st_size == written < total, "the container was not held up"
    used = monitor.cpu_ticks()
    time.sleep(0.5)
    assert monitor.cpu_ticks() - used <= 1, "the monitor waits busily"
    out, _, record = collect(monitor.control)
    assert out == copy.read_bytes()
    assert record is not None


def test_a_slow_client_holds_up_the_exit_record_of_nobody_else(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("sh", "-c", "head -c 4000000 /dev/zero", log=False)
    waiting = monitor.connect("")
    time.sleep(0.3)
    os.kill(monitor.child, signal.SIGKILL)
    started = time.monotonic()
    assert monitor_client.wait_exit(waiting, timeout=5) is not None
    assert time.monotonic() - started < 4
    out, _, record = collect(monitor.control)
    assert record == monitor.exit_record()
    assert out == bytes(len(out))
    assert out


def test_twenty_clients_get_the_same(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("cat", subscribe="i", options=("--stdin-once",))
    clients = [monitor.connect("o") for _ in range(20)]
    outputs: list[bytes] = [b""] * 20

    def read(number: int) -> None:
        outputs[number] = collect(clients[number])[0]

    readers = [in_background(lambda n=n: read(n)) for n in range(20)]  # type: ignore[misc]
    time.sleep(0.1)
    data = os.urandom(1 << 20)
    send_input(monitor.control, data)
    for reader in readers:
        reader.join(20)
    assert outputs == [data] * 20


def test_the_sixty_sixth_client_waits_its_turn(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("cat", subscribe="io")
    clients = [monitor.connect("o") for _ in range(64)]
    last = monitor.connect("o")
    time.sleep(0.1)
    monitor.control.sendall(b"ione")
    assert clients[63].recv(10) == b"oone"
    assert not select.select([last], [], [], 0.1)[0]
    clients[0].close()
    time.sleep(0.1)
    monitor.control.sendall(b"itwo")
    assert last.recv(10) == b"otwo"


# -- the terminal ----------------------------------------------------------------------------------------------------


def test_a_terminal_is_resized_and_its_hangups_are_survived(monitored: Callable[..., Monitored]) -> None:
    script = """
        trap 'stty size' WINCH
        stty -echo
        echo ready
        read line
        echo got $line
        exec >/dev/null 2>&1 </dev/null
        sleep 0.3
        echo again >/dev/tty
    """
    monitor = monitored("bash", "-c", script, tty=True, subscribe="io")
    assert monitor.control.recv(100) == b"oready\r\n"
    monitor.control.sendall(b"w33 77")
    monitor.control.sendall(b"iword\n")
    out, _, record = collect(monitor.control)
    assert out == b"33 77\r\ngot word\r\nagain\r\n"
    assert record is not None
    assert record["code"] == 0
    assert [entry["stream"] for entry in monitor.entries()] == ["stdout"] * 4


def test_terminal_output_just_before_the_exit_is_complete(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("sh", "-c", "head -c 60000 /dev/zero | tr '\\0' x; exit 4", tty=True)
    out, _, record = collect(monitor.control)
    assert out == b"x" * 60000
    assert record is not None
    assert record["code"] == 4


# -- the log ---------------------------------------------------------------------------------------------------------


def go_decode(data: bytes) -> str:
    """Decode as Go's json does: each byte that belongs to no character becomes U+FFFD, where Python joins some."""
    return data.decode(errors="go")


codecs.register_error("go", lambda error: ("\ufffd", error.start + 1))  # type: ignore[attr-defined]


def test_log_of_both_streams(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("sh", "-c", "echo '<a> & \"b\"'; sleep 0.05; echo err >&2; sleep 0.05; echo; printf end")
    collect(monitor.control)
    assert monitor.log.read_bytes().startswith(rb'{"log":"\u003ca\u003e \u0026 \"b\"\n","stream":"stdout","time":"20')
    entries = monitor.entries()
    assert [(e["log"], e["stream"]) for e in entries] == [
        ('<a> & "b"\n', "stdout"),
        ("err\n", "stderr"),
        ("\n", "stdout"),
        ("end", "stdout"),
    ]
    seconds = [time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() - n)) for n in (0, 60)]
    assert all(e["time"][:16] in seconds and len(e["time"]) == 30 and e["time"][-1] == "Z" for e in entries)
    assert [e["time"] for e in entries] == sorted(e["time"] for e in entries)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.one_of(
        st.binary(max_size=200),
        st.text(max_size=100).map(str.encode),
        st.lists(st.sampled_from([b"\xe2\x82", b"\xf0\x9f\x98\x80", b"\xed\xa0\x80", b"\xc0\x80", b"\n", b"a"])).map(
            b"".join
        ),
        st.integers(LINE - 3, LINE + 3).map(lambda n: b"x" * n + "\u20ac\n\u20ac".encode() * 2),
    )
)
def test_any_bytes_make_a_valid_log(monitored: Callable[..., Monitored], data: bytes) -> None:
    monitor = monitored("cat", subscribe="io", options=("--stdin-once",))
    send_input(monitor.control, data)
    assert collect(monitor.control)[0] == data
    entries = monitor.entries()
    assert "".join(entry["log"] for entry in entries) == go_decode(data)
    assert all("\n" not in entry["log"][:-1] for entry in entries)
    assert all(len(entry["log"]) <= LINE + 1 for entry in entries)
    monitor.close()


def test_long_lines_are_split_as_docker_splits_them(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("sh", "-c", "head -c 40000 /dev/zero | tr '\\0' y; echo; echo next")
    collect(monitor.control)
    entries = monitor.entries()
    assert [len(entry["log"]) for entry in entries] == [LINE, LINE, 40000 - 2 * LINE + 1, 5]
    assert len({entry["time"] for entry in entries[:3]}) == 1


def test_rotation(monitored: Callable[..., Monitored]) -> None:
    options = ("--log-max-size", "10000", "--log-max-file", "3")
    monitor = monitored("sh", "-c", "seq 1000", options=options)
    collect(monitor.control)
    texts = [entry["log"] for number in (2, 1, 0) for entry in monitor.entries(number)]
    assert texts == [f"{n}\n" for n in range(1001 - len(texts), 1001)]
    assert not monitor.log.with_name("log.3").exists()
    for number in (1, 2):
        assert 10000 <= monitor.log.with_name(f"log.{number}").stat().st_size < 10200


def test_rotation_with_one_file_begins_it_anew(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("sh", "-c", "seq 1000", options=("--log-max-size", "10000"))
    collect(monitor.control)
    texts = [entry["log"] for entry in monitor.entries()]
    assert texts == [f"{n}\n" for n in range(1001 - len(texts), 1001)]
    assert monitor.log.stat().st_size < 10200
    assert not monitor.log.with_name("log.1").exists()


def test_a_log_that_cannot_be_written_costs_lines_and_nothing_else(
    monitored: Callable[..., Monitored], tmp_path: Path
) -> None:
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    monitor = monitored("echo", "hello", log=False, options=("--log", str(full)))
    out, _, record = collect(monitor.control)
    assert out == b"hello\n"
    assert record is not None
    assert record["code"] == 0
    assert "No space left on device" in record["error"]


def test_half_a_line_of_a_killed_monitor_does_not_swallow_the_next(
    monitored: Callable[..., Monitored], tmp_path: Path
) -> None:
    log = tmp_path / "cut.log"
    log.write_bytes(b'{"log":"whole\\n","stream":"stdout","time":"2024-01-02T03:04:05.000000000Z"}\n{"log":"ha')
    monitor = monitored("echo", "hello", log=False, options=("--log", str(log)))
    collect(monitor.control)
    lines = log.read_bytes().splitlines()
    assert lines[1] == b'{"log":"ha'
    assert json.loads(lines[2])["log"] == "hello\n"


def test_followers_of_the_log_are_told_of_its_growth(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("cat", subscribe="i", options=("--stdin-once",))
    follower = monitor.connect("l")
    time.sleep(0.05)
    monitor.control.sendall(b"ione\n")
    assert monitor_client.wait_news(follower, timeout=5)
    assert [entry["log"] for entry in monitor.entries()] == ["one\n"]
    monitor.control.sendall(b"c")
    while monitor_client.wait_news(follower, timeout=5):
        pass
    assert monitor.exit_file.exists()


# -- cost ------------------------------------------------------------------------------------------------------------


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
        """Say whether it is not woken for a while; on a busy machine it takes a moment to begin to wait."""
        before, _ = switches(monitor.pid), time.sleep(0.5)
        return switches(monitor.pid) == before

    eventually(rests)


def switches(pid: int) -> list[str]:
    """Return how often the kernel has switched to a process and away from it."""
    status = Path(f"/proc/{pid}/status").read_text()
    return [line for line in status.splitlines() if "ctxt_switches" in line]
