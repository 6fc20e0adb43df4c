"""Speaking to the network helper, and starting it when it does not run.

    client                                      helper
      | connect; one packet: the request, fds     |
      |------------------------------------------>|
      | one packet for each trace event, if any   |
      |<------------------------------------------|
      | {}, or {"failed": [message, hint, code]}  |
      |<------------------------------------------|

A socket of type SOCK_SEQPACKET (unix(7)) keeps packets apart, and its end of file says that the helper has died.
"""

from __future__ import annotations

import json
import os
import socket
import time

from minirun.errors import MinirunError
from minirun.kernel import trace
from minirun.kernel.hostfiles import make_private
from minirun.model.layout import Layout
from minirun.network import helper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# The helper may wait for iptables' lock and for other containers' requests before this one.
ANSWER_SECONDS = 60.0
CONNECT_SECONDS = 10.0
# One is not enough: a dying process's files are closed one after the other, so for a moment the socket of a killed
# helper still takes the connection that its loss has caused.
ATTEMPTS = 5


class HelperLostError(Exception):
    """The helper ended before it answered: it was killed, or it was about to end when the request came."""


def warm_up(layout: Layout) -> None:
    """See to it that the helper runs, or is about to, without waiting for it. Raises MinirunError."""
    _connect(layout).close()


def ask(layout: Layout, request: dict[str, Any], fds: Sequence[int] = ()) -> None:
    """Have the helper do something, again by a new one if it dies over it. Raises its error as MinirunError."""
    for attempt in range(ATTEMPTS):
        try:
            _converse(layout, request, fds)
        except HelperLostError:
            time.sleep(0.001 * attempt)
        else:
            return
    raise MinirunError(
        f"the network helper ended {ATTEMPTS} times without an answer",
        "See the kernel's log (dmesg) for a crash or an out-of-memory kill.",
    )


def tell(layout: Layout, request: dict[str, Any]) -> None:
    """Leave a request with the helper and do not wait until it is done. Raises MinirunError."""
    with _connect(layout) as channel:
        try:
            channel.send(json.dumps(request).encode())
        except OSError:
            pass  # it has just ended: nothing that is only told is needed for correctness at this moment


def _converse(layout: Layout, request: dict[str, Any], fds: Sequence[int]) -> None:
    with _connect(layout) as channel:
        channel.settimeout(ANSWER_SECONDS)
        try:
            socket.send_fds(channel, [json.dumps(request | {"trace": trace.tracing()}).encode()], list(fds))
            while True:
                packet = channel.recv(helper.PACKET_BYTES)
                if not packet:
                    raise HelperLostError
                answer = json.loads(packet)
                if "operation" in answer:
                    trace.relay(trace.event_from_json(packet))
                elif "failed" in answer:
                    raise MinirunError(*answer["failed"])
                else:
                    return
        except TimeoutError:
            raise MinirunError(
                f"the network helper did not answer within {ANSWER_SECONDS:.0f} seconds",
                "Another program may hold iptables' lock (/run/xtables.lock).",
            ) from None
        except OSError:
            raise HelperLostError from None


def _connect(layout: Layout) -> socket.socket:
    """Return a connection to the helper, which is started if need be."""
    make_private(layout.network)
    directory = os.open(layout.network, os.O_PATH | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + CONNECT_SECONDS
        while True:
            channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
            try:
                channel.connect(helper.socket_path(directory))
                return channel
            except (FileNotFoundError, ConnectionRefusedError):
                channel.close()
            except OSError as error:
                channel.close()
                raise MinirunError(f"cannot reach the network helper: {error.strerror}") from error
            # Where it cannot be started, one is just starting or ending.
            if not helper.start(layout, directory):
                if time.monotonic() > deadline:
                    raise MinirunError(
                        "the network helper does not take connections",
                        f"See what holds {layout.network}/helper-*.lock.",
                    )
                time.sleep(0.001)
    finally:
        os.close(directory)
