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

import os
import time

from minirun.errors import MinirunError
from minirun.kernel import trace
from minirun.kernel.hostfiles import make_private
from minirun.kernel.sockets import Socket, packet_socket, send_with_descriptors
from minirun.model import jsontext
from minirun.model.layout import Layout
from minirun.network.helper_socket import PACKET_BYTES, socket_path

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


def is_serving(layout: Layout) -> bool:
    """Say whether there is a helper."""
    try:
        directory = os.open(layout.network, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        with packet_socket() as channel:
            channel.connect(socket_path(directory))
    except OSError:
        return False
    finally:
        os.close(directory)
    return True


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
            channel.send(jsontext.dumps(request).encode())
        except OSError:
            pass  # it has just ended: nothing that is only told is needed for correctness at this moment


def _converse(layout: Layout, request: dict[str, Any], fds: Sequence[int]) -> None:
    with _connect(layout) as channel:
        channel.settimeout(ANSWER_SECONDS)
        try:
            packet = jsontext.dumps(request | {"trace": trace.tracing()}).encode()
            send_with_descriptors(channel, packet, fds)
            while True:
                packet = channel.recv(PACKET_BYTES)
                if not packet:
                    raise HelperLostError
                answer = jsontext.loads(packet)
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


def _connect(layout: Layout) -> Socket:
    """Return a connection to the helper, which is started if need be."""
    make_private(layout.network)
    directory = os.open(layout.network, os.O_PATH | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + CONNECT_SECONDS
        while True:
            channel = packet_socket()
            try:
                channel.connect(socket_path(directory))
                return channel
            except (FileNotFoundError, ConnectionRefusedError):
                channel.close()
            except OSError as error:
                channel.close()
                raise MinirunError(f"cannot reach the network helper: {error.strerror}") from error
            from minirun.network import helper  # which imports much

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
