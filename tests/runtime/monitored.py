"""A child under the real monitor, started as `run` starts it; for the tests of the monitor and of its clients."""

from __future__ import annotations

import codecs
import json
import os
import pty
import signal
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import minirun as package
from minirun.engine.container import monitor_client

if TYPE_CHECKING:
    from collections.abc import Callable

MONITOR = Path(package.__file__).parent / "native/bin/monitor"


def wait_until_gone(client: socket.socket) -> None:
    """Wait until everything that was made for the container is removed: then the monitor ends."""
    client.settimeout(20)
    while monitor_client.receive(client):
        pass


class Monitored:
    """A child under a monitor. `control` is the starter's socket, as `run` has it."""

    def __init__(
        self,
        directory: Path,
        *command: str,
        tty: bool = False,
        stdin: bool = True,
        log: bool = True,
        options: tuple[str, ...] = (),
        cleanup: bool = True,
        subscribe: str | None = "oe",
    ) -> None:
        self.directory = directory
        self.exit_file, self.log, self.cleaned = directory / "exit.json", directory / "log", directory / "cleaned"
        self.child = 0
        self._clients: list[socket.socket] = []
        self.listener = monitor_client.listen(str(directory))
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(20)
        arguments = ["--id", "x" * 64, "--exit-file", str(self.exit_file)]
        arguments += ["--listen", str(self.listener.fileno()), "--control", str(theirs.fileno())]
        if log:
            arguments += ["--log", str(self.log)]
        if tty:
            master, slave = pty.openpty()
            arguments += ["--pty", str(master)]
            childs, monitors = [slave, slave, slave], [master]
        else:
            pipes = [os.pipe(), os.pipe(), os.pipe()]
            childs = [pipes[0][0], pipes[1][1], pipes[2][1]]
            monitors = [pipes[0][1], pipes[1][0], pipes[2][0]]
            names = ["--stdin", "--stdout", "--stderr"]
            for name, fd in list(zip(names, monitors, strict=True))[0 if stdin else 1 :]:
                arguments += [name, str(fd)]
        arguments += options
        if cleanup:
            arguments += ["--cleanup", "sh", "-c", f"sleep 0.05; echo x >> {self.cleaned}"]

        told, tell = os.pipe()
        self._gate, self._start = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._become_monitor(
                    arguments, command, childs, [*monitors, theirs.fileno(), self.listener.fileno()], tell
                )
            finally:
                os._exit(99)
        os.close(tell)
        os.close(self._gate)
        self.child = int(os.read(told, 16))
        os.close(told)
        theirs.close()
        self.listener.close()
        for fd in {*childs, *monitors}:
            os.close(fd)
        if subscribe is not None:
            self.control.sendall(b"A" + subscribe.encode())
            os.write(self._start, b"go")
            monitor_client.say_started(self.control)

    def _become_monitor(
        self, arguments: list[str], command: tuple[str, ...], childs: list[int], inherited: list[int], tell: int
    ) -> None:
        self.control.close()  # or the starter's death would not show: the waiting child would hold it open
        child = os.fork()
        if child == 0:
            os.setsid()
            os.close(self._start)
            if not os.read(self._gate, 2):
                os._exit(98)
            for number, fd in enumerate(childs):
                os.dup2(fd, number)
            if os.isatty(0):
                os.close(os.open(os.ttyname(0), os.O_RDWR))  # the first one that a session leader opens controls it
            os.execvp(command[0], command)
        os.write(tell, str(child).encode())
        os.setsid()
        for fd in inherited:
            os.set_inheritable(fd, True)
        os.execv(MONITOR, ["monitor", "--pid", str(child), *arguments])

    def connect(self, wants: str) -> socket.socket:
        """Connect another client."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(str(self.directory / "attach.sock"))
        sock.settimeout(20)
        sock.sendall(b"A" + wants.encode())
        self._clients.append(sock)
        return sock

    def wait(self, timeout: float = 20) -> int:
        """Wait until the monitor has ended."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        pytest.fail("the monitor did not end")

    def exit_record(self) -> dict[str, Any]:
        record: dict[str, Any] = json.loads(self.exit_file.read_text())
        return record

    def entries(self, number: int = 0) -> list[dict[str, str]]:
        """Return what the log holds, each line checked to be Docker's json-file format."""
        path = self.log if number == 0 else self.log.with_name(f"log.{number}")
        lines = path.read_bytes().splitlines()
        entries = [json.loads(line) for line in lines]
        for entry in entries:
            assert list(entry) == ["log", "stream", "time"]
        return entries

    def memory(self) -> int:
        """Return the monitor's resident set in KiB."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("no VmRSS")

    def is_running(self) -> bool:
        """Say whether the child lives."""
        try:
            return Path(f"/proc/{self.child}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except FileNotFoundError:
            return False

    def cpu_ticks(self) -> int:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def close(self) -> None:
        for sock in (self.control, *self._clients):
            sock.close()
        if self._start >= 0:
            os.close(self._start)
        self._start = -1
        for pid in (self.child, self.pid):
            if pid:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        if self.pid:
            os.waitpid(self.pid, 0)
        self.pid = self.child = 0


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


def go_decode(data: bytes) -> str:
    """Decode as Go's json does: each byte that belongs to no character becomes U+FFFD, where Python joins some."""
    return data.decode(errors="go")


codecs.register_error("go", lambda error: ("\ufffd", error.start + 1))  # type: ignore[attr-defined]
