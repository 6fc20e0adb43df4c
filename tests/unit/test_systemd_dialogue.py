"""What is said to systemd on its socket, and when: a systemd of the test's own listens."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest
from jeepney import HeaderFields, Message, Parser, new_error, new_method_return

from minirun.errors import MinirunError
from minirun.runtime.cgroup.systemd import bus, scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MANAGER = "org.freedesktop.systemd1"


@pytest.fixture
def listen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Callable[[], None]]]:
    """Return a function that has `serve` answer the next caller, and returns a function that waits for its end."""
    path = tmp_path / "private"
    monkeypatch.setattr(bus, "SOCKET", str(path))
    monkeypatch.setattr(bus, "runs_here", lambda: True)
    monkeypatch.setattr(scope, "runs_here", lambda: True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def start(serve: Callable[[socket.socket], None]) -> Callable[[], None]:
        failures: list[BaseException] = []

        def run() -> None:
            try:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(10)
                    serve(connection)
            except BaseException as error:  # noqa: BLE001 - reported by the test's own thread
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()

        def finish() -> None:
            thread.join()
            assert not failures, failures

        return finish

    with listener:
        yield start


def greet(connection: socket.socket) -> None:
    """Authenticate as systemd does: what it reads together with BEGIN is lost."""
    greeting = b""
    while b"BEGIN\r\n" not in greeting:
        greeting += connection.recv(256)
        assert greeting.startswith(b"\0AUTH EXTERNAL ")
    connection.settimeout(0.2)
    with pytest.raises(TimeoutError):
        greeting += connection.recv(256)
    connection.settimeout(10)
    assert greeting.endswith(b"\r\nBEGIN\r\n")
    connection.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")


def next_call(connection: socket.socket, parser: Parser) -> Message:
    while (message := parser.get_next_message()) is None:
        parser.add_data(connection.recv(4096))
    return message


def test_no_message_comes_close_behind_the_greeting(listen: Callable[..., Callable[[], None]]) -> None:
    def serve(connection: socket.socket) -> None:
        greet(connection)
        call = next_call(connection, Parser())
        assert call.header.fields[HeaderFields.member] == "StopUnit"
        assert call.body == ("x.scope", "replace")
        refusal = new_error(call, f"{MANAGER}.NoSuchUnit", "s", ("Unit x.scope not loaded.",))
        connection.sendall(refusal.serialise(1))

    finish = listen(serve)
    scope.stop("x.scope")
    finish()


def test_a_job_that_has_ended_before_it_is_answered_with(listen: Callable[..., Callable[[], None]]) -> None:
    def serve(connection: socket.socket) -> None:
        greet(connection)
        parser = Parser()
        stop = next_call(connection, parser)
        signal = new_method_return(stop, "uoss", (7, "/job/7", "x.scope", "done"))
        signal.header.fields[HeaderFields.member] = "JobRemoved"
        signal.header.fields[HeaderFields.reply_serial] = 1000
        connection.sendall(signal.serialise(1) + new_method_return(stop, "o", ("/job/7",)).serialise(2))
        reset = next_call(connection, parser)
        assert reset.header.fields[HeaderFields.member] == "ResetFailedUnit"
        connection.sendall(new_method_return(reset).serialise(3))

    finish = listen(serve)
    scope.stop("x.scope")
    finish()


def test_a_users_scopes_are_below_what_their_systemd_has(
    listen: Callable[..., Callable[[], None]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def serve(connection: socket.socket) -> None:
        greet(connection)
        call = next_call(connection, Parser())
        assert call.header.fields[HeaderFields.interface] == "org.freedesktop.DBus.Properties"
        assert call.body == (f"{MANAGER}.Manager", "ControlGroup")
        connection.sendall(new_method_return(call, "v", (("s", "/user.slice/user@7.service"),)).serialise(1))

    finish = listen(serve)
    (tmp_path / "systemd").mkdir()
    (tmp_path / "private").rename(tmp_path / "systemd/private")
    monkeypatch.setattr(bus, "user_directory", lambda: str(tmp_path))
    monkeypatch.setattr(scope, "user_directory", lambda: str(tmp_path))
    path, unit = scope.scope_of(":libpod:abc", "ID")
    finish()
    assert (path, unit) == ("user.slice/user@7.service/user.slice/libpod-abc.scope", "libpod-abc.scope")


def test_who_is_not_let_in(listen: Callable[..., Callable[[], None]]) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(256)
        connection.sendall(b"REJECTED\r\n")

    finish = listen(serve)
    with pytest.raises(MinirunError, match="systemd does not let us in: REJECTED"):
        scope.stop("x.scope")
    finish()


def test_systemd_hangs_up(listen: Callable[..., Callable[[], None]]) -> None:
    def serve(connection: socket.socket) -> None:
        greet(connection)
        next_call(connection, Parser())

    finish = listen(serve)
    with pytest.raises(MinirunError, match="systemd has closed the connection"):
        scope.stop("x.scope")
    finish()
