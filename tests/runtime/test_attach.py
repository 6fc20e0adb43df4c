"""The foreground of `run` and `attach`: a program at a terminal or behind pipes, attached to a real monitor."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING

import pytest
from monitored import wait_until_gone

from minirun.engine.container import attaching, monitor_client
from minirun.errors import MinirunError
from minirun.model.container import ExitStatus
from minirun.model.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from monitored import Monitored

CLIENT = """
import os, socket, sys
from minirun.engine.container import attaching, monitor_client
from minirun.errors import MinirunError

path, pid, options = sys.argv[1], int(sys.argv[2]), sys.argv[3].split(",")
sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
sock.connect(path)
stdin, tty = "stdin" in options, "tty" in options
monitor_client.subscribe(sock, stdin=stdin, stdout=True, stderr=True)
send_signal = (lambda number: os.kill(pid, number)) if "proxy" in options else None
try:
    end = attaching.attach(sock, stdin=stdin, tty=tty, send_signal=send_signal)
except MinirunError as error:
    sys.exit(f"error: {error.message}")
except BrokenPipeError:
    os._exit(98)
sys.exit(99 if isinstance(end, attaching.Detached) else end.code)
"""


def command(monitor: Monitored, options: str) -> list[str]:
    return [sys.executable, "-c", CLIENT, str(monitor.directory / "attach.sock"), str(monitor.child), options]


class Person:
    """Sits at a terminal on which a client runs."""

    def __init__(self, client: list[str], rows: int, columns: int) -> None:
        self._master, self._slave = os.openpty()
        self.resize(rows, columns)
        self.settings = termios.tcgetattr(self._slave)
        self.seen = b""
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *client], stdin=self._slave, stdout=self._slave, stderr=self._slave
        )

    def resize(self, rows: int, columns: int) -> None:
        termios.tcsetwinsize(self._master, (rows, columns))

    def type(self, text: bytes) -> None:
        os.write(self._master, text)

    def expect(self, text: bytes) -> None:
        deadline = time.monotonic() + 10
        while text not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} was not shown, but {self.seen!r}"
            if select.select([self._master], [], [], left)[0]:
                self.seen += os.read(self._master, 4096)
        self.seen = self.seen.partition(text)[2]

    def is_raw(self) -> bool:
        return not termios.tcgetattr(self._slave)[3] & termios.ICANON

    def finds_the_terminal_as_it_was(self) -> bool:
        return termios.tcgetattr(self._slave) == self.settings

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)
        os.close(self._slave)


@pytest.fixture
def at_terminal() -> Iterator[Callable[..., Person]]:
    people: list[Person] = []

    def start(client: list[str], rows: int = 24, columns: int = 80) -> Person:
        people.append(Person(client, rows, columns))
        return people[-1]

    yield start
    for person in people:
        person.close()


# -- at a terminal ---------------------------------------------------------------------------------------------------


def test_keys_and_sizes_reach_the_container_and_the_terminal_is_restored(
    monitored: Callable[..., Monitored], at_terminal: Callable[..., Person]
) -> None:
    monitor = monitored("bash", "--norc", "-i", tty=True, subscribe="")
    person = at_terminal(command(monitor, "stdin,tty"), 31, 91)
    person.type(b"stty size\n")
    person.expect(b"31 91\r\n")
    assert person.is_raw()
    person.resize(42, 100)
    wait_for(lambda: _size_is(monitor, person, b"42 100"))
    person.type(b"exit 5\n")
    assert person.process.wait(10) == 5
    assert person.finds_the_terminal_as_it_was()


def _size_is(monitor: Monitored, person: Person, size: bytes) -> bool:
    assert monitor.child
    person.type(b"stty size; echo answered\n")
    person.expect(b"echo answered\r\n")
    before = person.seen
    person.expect(b"answered\r\n")
    return size in before or size in person.seen


def test_ctrl_c_is_the_containers(monitored: Callable[..., Monitored], at_terminal: Callable[..., Person]) -> None:
    script = "trap 'echo got it; exit 6' INT; trap : USR2; while :; do sleep 0.05; done"
    monitor = monitored("bash", "-c", script, tty=True, subscribe="")
    person = at_terminal(command(monitor, "stdin,tty"))
    wait_for(lambda: person.is_raw() and signal.SIGUSR2 in caught_signals(monitor.child))
    person.type(b"\x03")
    person.expect(b"got it")
    assert person.process.wait(10) == 6
    assert person.finds_the_terminal_as_it_was()


def test_detach_keys_leave_it_running(monitored: Callable[..., Monitored], at_terminal: Callable[..., Person]) -> None:
    monitor = monitored("cat", tty=True, subscribe="")
    person = at_terminal(command(monitor, "stdin,tty"))
    person.type(b"hello\n")
    person.expect(b"hello\r\nhello\r\n")
    person.type(b"\x10")
    time.sleep(0.1)
    person.type(b"\x11")
    assert person.process.wait(10) == 99
    assert person.finds_the_terminal_as_it_was()
    again = at_terminal(command(monitor, "stdin,tty"))
    again.type(b"more\n")
    again.expect(b"more\r\nmore\r\n")
    again.type(b"\x04")
    assert again.process.wait(10) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_without_proxy_ends_the_client_alone(
    monitored: Callable[..., Monitored], at_terminal: Callable[..., Person], number: signal.Signals
) -> None:
    monitor = monitored("cat", tty=True, subscribe="")
    person = at_terminal(command(monitor, "stdin,tty"))
    wait_for(person.is_raw)
    os.kill(person.process.pid, number)
    assert person.process.wait(10) == 128 + number
    assert person.finds_the_terminal_as_it_was()
    assert monitor.is_running()


def test_the_terminal_is_restored_when_the_monitor_is_killed(
    monitored: Callable[..., Monitored], at_terminal: Callable[..., Person]
) -> None:
    monitor = monitored("cat", tty=True, subscribe="")
    person = at_terminal(command(monitor, "stdin,tty"))
    wait_for(person.is_raw)
    os.kill(monitor.pid, signal.SIGKILL)
    assert person.process.wait(10) == 1
    person.expect(b"error: the container's monitor has died")
    assert person.finds_the_terminal_as_it_was()


# -- behind pipes ----------------------------------------------------------------------------------------------------


def run_client(monitor: Monitored, options: str, **more: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command(monitor, options), capture_output=True, timeout=20, check=False, **more)  # type: ignore[call-overload,no-any-return]


def test_a_megabyte_goes_through_client_and_container(monitored: Callable[..., Monitored]) -> None:
    data = os.urandom(1 << 20)
    monitor = monitored("sh", "-c", "cat; echo end >&2; exit 3", subscribe="", options=("--stdin-once",))
    done = run_client(monitor, "stdin", input=data)
    assert (done.stdout == data, done.stderr, done.returncode) == (True, b"end\n", 3)


def test_a_non_blocking_standard_output_loses_nothing(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("sh", "-c", "read go; head -c 2000000 /dev/zero", subscribe="", log=False)
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETFL, os.O_NONBLOCK)
    with subprocess.Popen(command(monitor, "stdin"), stdin=subprocess.PIPE, stdout=write) as client:
        os.close(write)
        assert client.stdin is not None
        client.stdin.write(b"go\n")
        client.stdin.close()
        time.sleep(0.5)  # the pipe is full by now
        with os.fdopen(read, "rb") as output:
            assert output.read() == bytes(2000000)
    assert client.returncode == 0


def test_a_reader_that_goes_ends_the_client_and_not_the_container(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("sh", "-c", "while echo y; do :; done", subscribe="", log=False)
    with subprocess.Popen(command(monitor, ""), stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.read(2) == b"y\n"
        client.stdout.close()
        assert client.wait(10) == 98
    assert monitor.is_running()


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT", "USR1", "TSTP"])
def test_signals_are_forwarded(monitored: Callable[..., Monitored], name: str) -> None:
    script = f"trap 'echo got {name}; exit 9' {name}; trap : USR2; while :; do sleep 0.02; done"
    monitor = monitored("bash", "-c", script, subscribe="")
    with subprocess.Popen(command(monitor, "proxy"), stdout=subprocess.PIPE) as client:
        for pid in (client.pid, monitor.child):
            wait_for(lambda pid=pid: signal.SIGUSR2 in caught_signals(pid))  # type: ignore[misc]
        client.send_signal(signal.Signals[f"SIG{name}"])
        assert client.wait(10) == 9
        assert client.stdout is not None
        assert client.stdout.read().endswith(f"got {name}\n".encode())


def caught_signals(pid: int) -> set[int]:
    """Return the signals that a process handles. Python by itself handles SIGINT, but not SIGUSR2."""
    with open(f"/proc/{pid}/status") as file:
        mask = next(int(line.split()[1], 16) for line in file if line.startswith("SigCgt:"))
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


# -- connecting ------------------------------------------------------------------------------------------------------


def test_connect_to_a_bundle_with_a_long_path(monitored: Callable[..., Monitored], tmp_path: Path) -> None:
    layout = Layout(state=str(tmp_path / ("long" * 30)))
    container_id = "f" * 64
    os.makedirs(layout.bundle(container_id))
    assert monitor_client.connect(layout, container_id) is None
    monitor = monitored("sh", "-c", "read line; exit 4", directory=layout.bundle(container_id), subscribe="i")
    sock = monitor_client.connect(layout, container_id)
    assert sock is not None
    with sock:
        monitor_client.subscribe(sock)
        with pytest.raises(TimeoutError):
            monitor_client.wait_exit(sock, 0.1)
        monitor.control.sendall(b"igo\n")
        status = monitor_client.wait_exit(sock, 10)
        assert isinstance(status, ExitStatus)
        assert status.code == 4
        monitor_client.say_cleaned(monitor.control)
        wait_until_gone(sock)
        assert monitor_client.wait_exit(sock) is None
    monitor.wait()
    assert monitor_client.connect(layout, container_id) is None


def test_saying_cleaned_to_a_monitor_that_has_gone_is_no_error(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("true", cleanup=False)
    os.kill(monitor.pid, signal.SIGKILL)
    monitor.wait()
    monitor_client.say_cleaned(monitor.control)


def test_attach_says_when_the_monitor_died(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("cat")
    os.kill(monitor.pid, signal.SIGKILL)
    with pytest.raises(MinirunError, match="monitor has died"):
        attaching.attach(monitor.control, stdin=False, tty=False)


def wait_for(condition: Callable[[], object], timeout: float = 10) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.01)
