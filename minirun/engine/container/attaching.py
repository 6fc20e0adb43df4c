"""A foreground command: standard streams, the terminal's size and signals, to and from a container until its end.

It stands between the user and the container's monitor, to which `monitor_client` speaks.
"""

from __future__ import annotations

import _signal as signal  # the C part of `signal`, which would bring `enum` along, for 5 ms
import errno
import os
import select

from minirun.engine.container.monitor_client import exit_status_of, receive_now, tell
from minirun.errors import MinirunError
from minirun.kernel.hostfiles import write_all
from minirun.kernel.session.terminal import raw_mode, window_size
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket as socket
    from collections.abc import Callable, Mapping
    from types import FrameType

    from minirun.model.container import ExitStatus

STDIN, STDOUT, STDERR = 0, 1, 2
DETACH_KEYS = b"\x10\x11"  # ctrl-p,ctrl-q

_INPUT_SIZE = 16 << 10  # what the monitor takes in one message

# Not forwarded: what cannot be caught, what the kernel sends for a fault of our own, and what is about this process
# alone. SIGTTIN and SIGTTOU must stop it, or it would keep trying to use a terminal that it does not own.
_OWN_SIGNALS = frozenset(
    {
        *(signal.SIGKILL, signal.SIGSTOP),
        *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS),
        *(signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG, signal.SIGWINCH, signal.SIGTTIN, signal.SIGTTOU),
    }
)
_ENDING_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


class Attachment(Record):
    """How a foreground command stands between the user and the container.

    `streams` holds those of "stdin", "stdout" and "stderr" that are the user's; `detach_keys` is the user's text, ""
    for the default.
    """

    streams: frozenset[str]
    sig_proxy: bool = True
    detach_keys: str = ""

    def keys(self) -> bytes:
        """Return what the user types to detach. Raises MinirunError."""
        return parse_detach_keys(self.detach_keys) if self.detach_keys else DETACH_KEYS


class Detached(Record):
    """The user has typed the detach keys; the container runs on."""


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
    handlers: dict[int, Callable[[int], None]] = (
        _forwarding(send_signal) if send_signal else dict.fromkeys(_ENDING_SIGNALS, _end)
    )
    with _SignalPipe() as signals:
        streams = _Streams(sock, stdin, detach_keys if tty and stdin else b"", signals)
        if tty:
            handlers[signal.SIGWINCH] = lambda _: streams.send_size()
        with _Handlers(handlers):
            if tty:
                streams.send_size()
            if not (tty and stdin and os.isatty(STDIN)):
                return streams.relay()
            with raw_mode(STDIN):
                return streams.relay()


def terminal_size() -> tuple[int, int]:
    """Return (rows, columns) of the user's terminal, (0, 0) when no standard stream is one."""
    for fd in (STDOUT, STDIN, STDERR):
        if os.isatty(fd):
            return window_size(fd)
    return 0, 0


def ask_redraw(sock: socket.socket) -> None:
    """Make a full-screen program redraw its screen, by a change of size that `attach` takes back."""
    rows, columns = terminal_size()
    if rows:
        tell(sock, _size_message(rows + 1, columns))


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
                message = receive_now(self._sock)
                if message is not None and (status := self._take(message)):
                    return status
            if ready.get(STDIN) and self._reading and self._read_input():
                self._send(b"D")
                return Detached()

    def send_size(self) -> None:
        """Tell the container's terminal the size of the user's. A signal handler may call this at any point."""
        try:
            rows, columns = terminal_size()
            if rows:
                self._sock.send(_size_message(rows, columns))
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
            return exit_status_of(message)
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


# -- detach keys -----------------------------------------------------------------------------------------------------


class DetachKeys:
    """Finds a sequence of keys in the input. The beginning of a match is held back until it is complete, or is none."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""

    def filter(self, data: bytes) -> tuple[bytes, bool]:
        """Return the bytes to pass on, and whether the sequence is complete; bytes after it are dropped."""
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


class _SignalPipe:
    """Give a descriptor that a signal makes readable, to be waited for with all others.

    Python runs a handler between two of its own instructions: that of a signal which comes just before poll(2) begins
    would wait for as long as poll(2) does.
    """

    def __enter__(self) -> int:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        return self._reader

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._before)
        os.close(self._reader)
        os.close(self._writer)


class _Handlers:
    """Handle these signals within the block. Python runs the handler also while a system call is waited for."""

    def __init__(self, handlers: Mapping[int, Callable[[int], None]]) -> None:
        self._handlers = handlers

    def __enter__(self) -> None:
        self._before = {number: signal.signal(number, self._handle) for number in self._handlers}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the form that signal(2) asks for
        self._handlers[number](number)


def _forwarding(send_signal: Callable[[int], None]) -> dict[int, Callable[[int], None]]:
    """As Docker does: every signal, SIGTSTP of a Ctrl-Z among them, but none that the caller ignores.

    A shell ignores the terminal's signals for what it runs in the background, nohup(1) SIGHUP.
    """

    def forward(number: int) -> None:
        try:
            send_signal(number)
        except (OSError, MinirunError):
            pass  # the container has just ended

    ignored = {number for number in _ENDING_SIGNALS if signal.getsignal(number) == signal.SIG_IGN}
    return {number: forward for number in signal.valid_signals() if number not in _OWN_SIGNALS | ignored}


def _end(number: int) -> None:
    raise SystemExit(128 + number)
