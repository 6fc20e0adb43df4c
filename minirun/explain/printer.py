"""The process that prints what is traced.

Several processes make a container: the command itself, the monitor-to-be, the container before its exec. All of them
inherit one end of a socket pair, and one small process, forked before them all, prints what arrives at the other:

    minirun --------\\
    monitor-to-be ----> SOCK_SEQPACKET --> printer --> standard error
    container ------/

A packet is an event, so lines never mix; a full socket makes the sender wait, so none is lost; the order is that of
arrival. An exec closes the sender's end, so that neither the monitor nor the user's command holds it.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
import sys
from time import monotonic_ns

from minirun.explain.story import Story
from minirun.kernel.process import fork
from minirun.kernel.trace import event_from_json, forward_to, set_tracer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, TextIO

_LARGEST_EVENT = 1 << 20
_END = b"end"
_LONGEST_EXEC = 10_000  # milliseconds


class Printer:
    """The command's handle on the printing process."""

    def __init__(self, channel: socket.socket, pid: int) -> None:
        self._channel = channel
        self._pid = pid

    @classmethod
    def start(cls, style: str) -> Printer:
        """Fork the printer and send it every further operation of this process and of those it forks.

        `style` is "story" or "json". Call it while the process has one thread.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stderr.flush()
        pid = fork()
        if pid == 0:
            ours.close()
            _print_and_exit(theirs, style)
        theirs.close()
        set_tracer(forward_to(ours))
        return cls(ours, pid)

    def finish(self) -> None:
        """Stop tracing, wait until everything sent so far is printed, and reap the printer.

        A process that outlives the command may still hold the socket, so its end of file is not waited for.
        """
        set_tracer(None)
        try:
            self._channel.send(_END)
        except OSError:
            pass  # the printer has gone: nobody reads standard error any more
        self._channel.close()
        os.waitpid(self._pid, 0)


def _print_and_exit(channel: socket.socket, style: str) -> NoReturn:
    """Be the printer until the end is sent or every sender has gone."""
    # Ctrl-C and a hang-up are for the command; its last steps, undoing things, are still to be told.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    try:
        print_events(channel, sys.stderr, style)
    except BaseException:  # noqa: BLE001 - a forked child must never return into its parent's code
        os._exit(1)
    os._exit(0)


def print_events(channel: socket.socket, output: TextIO, style: str) -> None:
    """Print each event that arrives over `channel` until it ends."""
    on_terminal = output.isatty()
    # While a container has the terminal it is in raw mode, where a new line does not return to the left margin.
    end = "\r\n" if on_terminal else "\n"
    story = Story(colours=on_terminal and not os.environ.get("NO_COLOR"))

    def print_event(packet: bytes) -> None:
        if style == "json":
            output.write(packet.decode() + end)
        else:
            output.writelines(line + end for line in story.lines(event_from_json(packet)))
        output.flush()

    waiting: dict[int, bytes] = {}  # execs by the pipe that will tell how each went
    watched = select.poll()
    watched.register(channel, select.POLLIN)
    packet = None
    while packet not in (b"", _END):
        for descriptor, _ in watched.poll():
            if descriptor in waiting:
                watched.unregister(descriptor)
                print_event(_with_outcome(waiting.pop(descriptor), descriptor))
                continue
            packet, descriptors, _, _ = socket.recv_fds(channel, _LARGEST_EVENT, 1)
            for pipe in descriptors:
                waiting[pipe] = packet
                watched.register(pipe, select.POLLIN)
            if not descriptors and packet not in (b"", _END):
                print_event(packet)
    watched.unregister(channel)
    while waiting and (known := watched.poll(_LONGEST_EXEC)):
        for descriptor, _ in known:
            watched.unregister(descriptor)
            print_event(_with_outcome(waiting.pop(descriptor), descriptor))


def _with_outcome(packet: bytes, descriptor: int) -> bytes:
    """Return the event of an exec with how that went: nobody can tell of one that has succeeded.

    So the process tells of it before, and sends a pipe along (kernel/trace.py, native/report.c). The exec closes the
    other end; one that fails is told by an errno's name in it. A process that is stopped at that moment is not told of.
    """
    event = event_from_json(packet)
    error = os.read(descriptor, 64).decode(errors="replace")
    os.close(descriptor)
    if error not in {"", *errno.errorcode.values()}:
        error = "error"  # the process may be one that others trace: what it writes is not to be trusted
    duration = monotonic_ns() - event.started_ns
    return json.dumps(event.replace(error=error, duration_ns=duration).as_dict()).encode()
