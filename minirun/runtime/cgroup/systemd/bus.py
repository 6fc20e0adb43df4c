"""systemd asked over D-Bus: units are started, changed and stopped (org.freedesktop.systemd1(5)).

The socket is systemd's own, the one that systemctl uses for root: it needs no message bus to run.
"""

from __future__ import annotations

import errno
import os

from minirun.errors import MinirunError
from minirun.model.spec import on_host
from minirun.runtime.namespaces.id_maps import mapping_of
from minirun.runtime.rootless import user_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

    from jeepney import Message, Parser

    from minirun.runtime.cgroup.systemd.properties import Property

SOCKET = "/run/systemd/private"

INTERFACE = "org.freedesktop.systemd1.Manager"

TIMEOUT = 30.0  # seconds for one answer


class _RefusalError(Exception):
    """systemd has answered a call with an error; `name` is that of D-Bus."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name.rpartition(".")[2]


def runs_here() -> bool:
    """Say whether there is a systemd to ask: PID 1 (sd_booted(3)), or the user's."""
    return os.path.exists(_socket_path()) if user_directory() else os.path.isdir("/run/systemd/system")


def _socket_path() -> str:
    """Return where systemd listens, the machine's or the user's; it may not be there."""
    own = user_directory()
    return f"{own}/systemd/private" if own else SOCKET


def _connect() -> socket.socket:
    import socket

    path = _socket_path()
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(TIMEOUT)
    try:
        connection.connect(path)
    except OSError as error:
        connection.close()
        raise OSError(error.errno, error.strerror or str(error), f"connect to {path}") from error
    return connection


def _uid_outside() -> int:
    """Return this user's number outside of this user namespace: the one that systemd sees (user_namespaces(7))."""
    own = os.geteuid()
    outside = on_host(own, mapping_of("self", "uid_map"))
    return own if outside is None else outside


class Manager:
    """systemd's manager object, on a connection of its own."""

    _socket: socket.socket
    _parser: Parser

    def __enter__(self) -> Manager:
        from jeepney import Parser

        if not runs_here():
            who = "a systemd of this user's does not run" if user_directory() else "systemd does not run this machine"
            raise MinirunError(
                f"{who}, so it can make no cgroup",
                "Leave out --systemd-cgroup (crun: --cgroup-manager=cgroupfs).",
            )
        self._parser = Parser()
        self._serial = 0
        self._results: dict[str, str] = {}  # of jobs that have ended, by the job's path
        self._socket = _connect()
        try:
            self._introduce()
        except BaseException:
            self._socket.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _introduce(self) -> None:
        """Authenticate as the user that the kernel says we are (D-Bus specification, "Authentication Protocol").

        BEGIN goes out together with the rest, and no message before the answer is here. systemd reads up to 256 bytes
        at once as long as the greeting is not over: of a short message that came close behind BEGIN it would learn
        only when more comes.
        """
        self._socket.sendall(b"\0AUTH EXTERNAL %s\r\nBEGIN\r\n" % str(_uid_outside()).encode().hex().encode())
        answer = b""
        while b"\r\n" not in answer:
            answer += self._read(4096)
        line, _, rest = answer.partition(b"\r\n")
        if not line.startswith(b"OK "):
            reason = f"systemd does not let us in: {line.decode(errors='replace')}"
            raise PermissionError(errno.EACCES, reason, _socket_path())
        self._parser.add_data(rest)

    def control_group(self) -> str:
        """Return the path of the cgroup that is this systemd's own. Raises MinirunError."""
        arguments = (INTERFACE, "ControlGroup")
        ((_, path),) = self.call("Get", "ss", arguments, "org.freedesktop.DBus.Properties")
        return str(path)

    def start_transient_unit(self, unit: str, properties: list[Property]) -> None:
        """Start a transient unit and wait until it runs. Raises MinirunError."""
        for attempt in (1, 2):
            try:
                self._run_job("StartTransientUnit", "ssa(sv)a(sa(sv))", (unit, "replace", properties, []), unit)
                return
            except _RefusalError as refusal:
                if refusal.name != "UnitExists" or attempt == 2:
                    raise MinirunError(f"systemd refuses to start {unit}: {refusal}") from None
            # One that has failed stays known until it is reset.
            self._ask("ResetFailedUnit", "s", (unit,))

    def stop_unit(self, unit: str) -> None:
        """Stop a unit and forget that it has failed. Raises MinirunError."""
        try:
            self._run_job("StopUnit", "ss", (unit, "replace"), unit)
        except _RefusalError as refusal:
            if refusal.name == "NoSuchUnit":
                return  # it has ended with its last process
            raise MinirunError(f"systemd refuses to stop {unit}: {refusal}") from None
        self._ask("ResetFailedUnit", "s", (unit,))

    def call(
        self, method: str, signature: str, arguments: tuple[Any, ...], interface: str = INTERFACE
    ) -> tuple[Any, ...]:
        """Call a method. Raises MinirunError with systemd's reason."""
        try:
            return self._call(method, signature, arguments, interface)
        except _RefusalError as refusal:
            raise MinirunError(f"systemd refuses {method}: {refusal}") from None

    def _ask(self, method: str, signature: str, arguments: tuple[Any, ...]) -> None:
        """Call a method whose refusal does not matter."""
        try:
            self._call(method, signature, arguments)
        except _RefusalError:
            pass

    def _run_job(self, method: str, signature: str, arguments: tuple[Any, ...], unit: str) -> None:
        """Call a method that answers with a job, and wait for the signal that it is done."""
        (job,) = self._call(method, signature, arguments)
        while job not in self._results:
            self._receive()
        if self._results[job] != "done":
            raise MinirunError(
                f"systemd could not run {method} of {unit}: the job ended as '{self._results[job]}'",
                f"journalctl --unit {unit} may tell why.",
            )

    def _call(
        self, method: str, signature: str, arguments: tuple[Any, ...], interface: str = INTERFACE
    ) -> tuple[Any, ...]:
        from jeepney import DBusAddress, HeaderFields, MessageType, new_method_call

        address = DBusAddress("/org/freedesktop/systemd1", "org.freedesktop.systemd1", interface)
        self._serial += 1
        self._socket.sendall(new_method_call(address, method, signature, arguments).serialise(self._serial))
        while True:
            message = self._receive()
            if message.header.fields.get(HeaderFields.reply_serial) != self._serial:
                continue  # a signal about something else
            if message.header.message_type is MessageType.error:
                name = str(message.header.fields.get(HeaderFields.error_name))
                raise _RefusalError(name, str(message.body[0]) if message.body else name)
            return tuple(message.body)

    def _receive(self) -> Message:
        """Return the next message, and note a job that has ended: that may be told before the job is answered with."""
        from jeepney import HeaderFields

        while (message := self._parser.get_next_message()) is None:
            self._parser.add_data(self._read(self._parser.bytes_desired()))
        if message.header.fields.get(HeaderFields.member) == "JobRemoved":
            _, job, _, result = message.body
            self._results[job] = result
        return message

    def _read(self, size: int) -> bytes:
        """Return up to `size` bytes from systemd, at least one. Raises OSError."""
        try:
            data = self._socket.recv(size)
        except TimeoutError as error:
            raise TimeoutError(errno.ETIMEDOUT, f"no answer within {TIMEOUT:.0f} seconds", _socket_path()) from error
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "systemd has closed the connection", _socket_path())
        return data
