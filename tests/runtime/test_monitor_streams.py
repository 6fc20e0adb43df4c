"""What the monitor carries between a container and its clients: input, output, terminals."""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from monitored import collect, go_decode, in_background, send_input, wait_for

from minirun.engine.container import monitor_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from monitored import Monitored


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
    assert monitor.cpu_ticks() - used <= 1, "the monitor is busy-waiting"
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
