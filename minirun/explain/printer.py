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

import os
import signal
import socket
import sys

from minirun.explain.story import Story
from minirun.kernel.trace import event_from_json, forward_to, set_tracer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, TextIO

_LARGEST_EVENT = 1 << 20
_END = b"end"


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
        pid = os.fork()
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
    while (packet := channel.recv(_LARGEST_EVENT)) not in (b"", _END):
        if style == "json":
            output.write(packet.decode() + end)
        else:
            output.writelines(line + end for line in story.lines(event_from_json(packet)))
        output.flush()
