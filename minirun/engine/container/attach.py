"""The client's side of the monitor: standard streams to and from a container, and waiting for its end.

The messages are drawn at the head of native/monitor.c. A foreground `run` uses the control socket that it was started
with; `attach`, `logs --follow`, `wait` and `stop` connect to the container's attach.sock.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
from contextlib import ExitStack, contextmanager

from minirun.errors import MinirunError
from minirun.kernel.terminal import raw_mode, window_size
from minirun.model.container import ExitStatus
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from minirun.model.layout import Layout

STDIN, STDOUT, STDERR = 0, 1, 2
DETACH_KEYS = b"\x10\x11"  # ctrl-p,ctrl-q

_INPUT_SIZE = 16 << 10  # what the monitor takes in one message
_OUTPUT_SIZE = 32 << 10  # what it sends in one

# Not forwarded: what cannot be caught, what the kernel sends for a fault of our own, and what is about this process
# alone. SIGTTIN and SIGTTOU must stop it, or it would try for ever to use a terminal that it does not own.
_OWN_SIGNALS = frozenset(
    {
        *(signal.SIGKILL, signal.SIGSTOP),
        *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS),
        *(signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG, signal.SIGWINCH, signal.SIGTTIN, signal.SIGTTOU),
    }
)
_ENDING_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


class Detached(Record):
    """The user has typed the detach keys; the container runs on."""


# -- connections -----------------------------------------------------------------------------------------------------


def listen(bundle: str) -> socket.socket:
    """Return the listening socket that a container's monitor inherits as --listen. Raises OSError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    with _socket_path(bundle) as path:
        listener.bind(path)
    listener.listen(64)
    return listener


def connect(layout: Layout, container_id: str) -> socket.socket | None:
    """Return a connection to the container's monitor; None when it does not run."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        with _socket_path(layout.bundle(container_id)) as path:
            sock.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        return None
    return sock


@contextmanager
def _socket_path(bundle: str) -> Iterator[str]:
    """Give a path of attach.sock that fits into the 108 bytes of a socket's address, however long the bundle's is."""
    directory = os.open(bundle, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/attach.sock"
    finally:
        os.close(directory)


def subscribe(
    sock: socket.socket, *, stdin: bool = False, stdout: bool = False, stderr: bool = False, log: bool = False
) -> None:
    """Tell the monitor what this client wants besides the exit status. On the control socket: before the start."""
    wanted = {"i": stdin, "o": stdout, "e": stderr, "l": log}
    _tell(sock, b"A" + "".join(letter for letter, wants in wanted.items() if wants).encode())


def say_started(sock: socket.socket) -> None:
    """Tell the monitor, on the control socket, that the container was started: from now on it runs without us."""
    _tell(sock, b"S")


def say_detached(sock: socket.socket) -> None:
    """Tell the monitor, on the control socket, to clean up by itself."""
    _tell(sock, b"D")


def say_cleaned(sock: socket.socket) -> None:
    """Tell the monitor, on the control socket, that all is unmade; it ends at once."""
    try:
        _tell(sock, b"K")
    except (BrokenPipeError, ConnectionResetError):
        pass  # it has lost patience and done it itself


def wait_exit(sock: socket.socket, timeout: float | None = None) -> ExitStatus | None:
    """Wait for the container's end, at most `timeout` seconds (TimeoutError); `subscribe` must have been called.

    None means that the connection ended without a word: the container had ended before, or its monitor was killed.
    """
    sock.settimeout(timeout)
    try:
        while message := _receive(sock):
            if message[:1] == b"x":
                return _exit_status(message)
    except BlockingIOError as error:  # a timeout of 0 makes the socket a non-blocking one
        raise TimeoutError from error
    return None


def wait_gone(sock: socket.socket, timeout: float | None = None) -> None:
    """Wait until everything that was made for the container is unmade, at most `timeout` seconds (TimeoutError)."""
    sock.settimeout(timeout)
    while _receive(sock):
        pass


def wait_news(sock: socket.socket, timeout: float | None = None) -> bool:
    """Wait until the log has grown or `timeout` seconds have passed; False when the container has ended.

    `subscribe` must have been called with `log`. What has grown before the call is told by it, too.
    """
    sock.setblocking(False)
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    poll.poll(None if timeout is None else timeout * 1000)
    while (message := _receive_now(sock)) is not None:
        if message[:1] in (b"", b"x"):
            return False
    return True


def _tell(sock: socket.socket, message: bytes) -> None:
    sock.setblocking(True)
    sock.send(message)


def _receive(sock: socket.socket) -> bytes:
    while True:
        try:
            return sock.recv(1 + _OUTPUT_SIZE)
        except ConnectionResetError:
            pass  # it closed without reading our last message; what it sent before is still there


def _receive_now(sock: socket.socket) -> bytes | None:
    """Receive from a non-blocking socket; None when nothing has come."""
    try:
        return _receive(sock)
    except BlockingIOError:
        return None


def _exit_status(message: bytes) -> ExitStatus:
    return ExitStatus(**json.loads(message[1:]))


# -- attached --------------------------------------------------------------------------------------------------------


def attach(
    sock: socket.socket,
    *,
    stdin: bool,
    tty: bool,
    detach_keys: bytes = DETACH_KEYS,
    send_signal: Callable[[int], None] | None = None,
) -> ExitStatus | Detached:
    """Stand between the user's standard streams and the container until it ends or the user detaches.

    `subscribe` must have been called. With `tty` and `stdin` the user's terminal is raw meanwhile; with `tty` its size
    is passed on. Signals that this process gets go to `send_signal`; without it SIGHUP, SIGINT, SIGQUIT and SIGTERM end
    this process (SystemExit) and not the container. Raises MinirunError when the monitor dies, BrokenPipeError when
    nobody reads our output any more.
    """
    sock.setblocking(False)
    with ExitStack() as undo:
        streams = _Streams(sock, stdin, detach_keys if tty and stdin else b"", undo.enter_context(_signal_pipe()))
        if tty:
            undo.enter_context(_handlers({signal.SIGWINCH: lambda _: streams.send_size()}))
            streams.send_size()
        undo.enter_context(_handlers(_forwarding(send_signal) if send_signal else dict.fromkeys(_ENDING_SIGNALS, _end)))
        if tty and stdin and os.isatty(STDIN):
            undo.enter_context(raw_mode(STDIN))
        return streams.relay()


def terminal_size() -> tuple[int, int] | None:
    """Return (rows, columns) of the user's terminal, None when no standard stream is one."""
    for fd in (STDOUT, STDIN, STDERR):
        if os.isatty(fd):
            return window_size(fd)
    return None


def ask_redraw(sock: socket.socket) -> None:
    """Make a program that fills the screen draw it anew, by a change of size that `attach` takes back."""
    if size := terminal_size():
        _tell(sock, _size_message(size[0] + 1, size[1]))


def _size_message(rows: int, columns: int) -> bytes:
    return f"w{rows} {columns}".encode()


class _Streams:
    """The loop between standard input, standard output, standard error and the monitor's socket."""

    def __init__(self, sock: socket.socket, stdin: bool, detach_keys: bytes, signals: int) -> None:
        self._sock = sock
        self._reading = stdin
        self._signals = signals
        self._keys = DetachKeys(detach_keys)
        self._unsent: list[bytes] = []  # messages that the monitor has no room for yet
        self._size_unsent = False

    def relay(self) -> ExitStatus | Detached:
        """Copy until the exit record comes or the detach keys are typed."""
        while True:
            ready = self._wait()
            if ready.get(self._signals):
                os.read(self._signals, 4096)
            if self._size_unsent:
                self.send_size()
            self._flush()
            if ready.get(self._sock.fileno(), 0) & ~select.POLLOUT:
                message = _receive_now(self._sock)
                if message is not None and (status := self._take(message)):
                    return status
            if ready.get(STDIN) and self._reading and self._read_input():
                self._send(b"D")
                return Detached()

    def send_size(self) -> None:
        """Tell the container's terminal the size of the user's. A signal handler may call this at any point."""
        try:
            if size := terminal_size():
                self._sock.send(_size_message(*size))
            self._size_unsent = False
        except BlockingIOError:
            self._size_unsent = True
        except OSError:
            pass  # a terminal or a monitor that has gone; the loop will see it

    def _wait(self) -> dict[int, int]:
        poll = select.poll()
        poll.register(self._sock, select.POLLIN | (select.POLLOUT if self._unsent or self._size_unsent else 0))
        poll.register(self._signals, select.POLLIN)
        if self._reading and not self._unsent:
            poll.register(STDIN, select.POLLIN)
        return dict(poll.poll())

    def _take(self, message: bytes) -> ExitStatus | None:
        kind = message[:1]
        if kind == b"x":
            return _exit_status(message)
        if kind in (b"o", b"e"):
            write_all(STDOUT if kind == b"o" else STDERR, memoryview(message)[1:])
        elif not message:
            raise MinirunError(
                "the container's monitor has died", "'minirun ps --all' cleans up after it and tells the state"
            )
        return None

    def _read_input(self) -> bool:
        """Pass on what can be read from standard input; say whether it held the detach keys."""
        try:
            data = os.read(STDIN, _INPUT_SIZE)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""  # the terminal has hung up
        if not data:
            self._reading = False
            self._send(b"c")
            return False
        passed, detached = self._keys.filter(data)
        for start in range(0, len(passed), _INPUT_SIZE):
            self._send(b"i" + passed[start : start + _INPUT_SIZE])
        return detached

    def _send(self, message: bytes) -> None:
        self._unsent.append(message)
        self._flush()

    def _flush(self) -> None:
        while self._unsent:
            try:
                self._sock.send(self._unsent[0])
            except BlockingIOError:
                return
            except (BrokenPipeError, ConnectionResetError):
                self._reading = False  # what it has sent before is still to be read
            self._unsent.pop(0)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write everything, also where `fd` is non-blocking, as a terminal shared with others may be. Raises OSError."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()


# -- detach keys -----------------------------------------------------------------------------------------------------


class DetachKeys:
    """Finds a sequence of keys in what is typed. A beginning of it is held back until it is clear what it becomes."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""

    def filter(self, data: bytes) -> tuple[bytes, bool]:
        """Return what is to be passed on, and whether the sequence is complete; what comes after it is dropped."""
        if not self._keys:
            return data, False
        typed = self._held + data
        found = typed.find(self._keys)
        if found >= 0:
            return typed[:found], True
        held = next(n for n in range(min(len(self._keys) - 1, len(typed)), -1, -1) if typed.endswith(self._keys[:n]))
        self._held = typed[len(typed) - held :]
        return typed[: len(typed) - held], False


def parse_detach_keys(text: str) -> bytes:
    """Read "ctrl-p,ctrl-q" or "ctrl-x,a": single characters, ctrl- and one of a-z @ [ \\ ] ^ _, or DEL.

    Raises MinirunError.
    """
    keys = b""
    for key in text.split(",") if text else []:
        name = key.lower()
        if len(key) == 1 and key.isascii():
            keys += key.encode()
        elif name == "del":
            keys += b"\x7f"
        elif len(name) == 6 and name.startswith("ctrl-") and name[5] in "@abcdefghijklmnopqrstuvwxyz[\\]^_":
            keys += bytes([ord(name[5].upper()) - 64])
        else:
            hint = "use characters and ctrl-<letter>, separated by commas: 'ctrl-p,ctrl-q'"
            raise MinirunError(f"invalid detach keys '{text}': unknown key '{key}'", hint)
    return keys


# -- signals ---------------------------------------------------------------------------------------------------------


@contextmanager
def _signal_pipe() -> Iterator[int]:
    """Give a descriptor that a signal makes readable, to be waited for with all others.

    Python runs a handler between two of its own instructions: that of a signal which comes just before poll(2) begins
    would wait for as long as poll(2) does.
    """
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)


@contextmanager
def _handlers(handlers: dict[signal.Signals, Callable[[int], None]]) -> Iterator[None]:
    """Handle these signals within the block. Python runs the handler also while a system call is waited for."""

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the form that signal.signal asks for
        handlers[signal.Signals(number)](number)

    before = {number: signal.signal(number, handle) for number in handlers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _forwarding(send_signal: Callable[[int], None]) -> dict[signal.Signals, Callable[[int], None]]:
    """As Docker does: every signal, SIGTSTP of a Ctrl-Z among them."""

    def forward(number: int) -> None:
        try:
            send_signal(number)
        except (OSError, MinirunError):
            pass  # the container has just ended

    return {number: forward for number in signal.Signals if number not in _OWN_SIGNALS}


def _end(number: int) -> None:
    raise SystemExit(128 + number)
