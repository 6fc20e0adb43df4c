"""The network helper: the process that speaks netlink, so that nobody else has to load it.

Importing the netlink messages takes longer than everything else that a container's network needs, so one process does
it for all: forked on demand by the first minirun that starts a container, and gone after IDLE_SECONDS without work.
While containers are on networks of the users', it is their name server as well (`names`), and stays. It is no daemon
that anything depends on: it keeps no state of its own, and whoever finds it dead starts another.

It runs in the network namespace of whoever started it, one for each namespace (a lock sees to that), on a socket that
only root can reach. A second Python would take longer to start than to fork this one, so it is a fork that lets go of
everything it inherits (`kernel.session.background`); but a process with threads cannot be forked, and starts one.
"""

from __future__ import annotations

import json
import os
import select
import socket
import time

from minirun.errors import MinirunError
from minirun.kernel import hostfiles, process, sockets, trace
from minirun.kernel.net import interfaces, netlink
from minirun.kernel.privilege import become_helper
from minirun.kernel.session.background import leave_the_caller
from minirun.model.layout import Layout
from minirun.model.network import Endpoint
from minirun.network import account, bridge
from minirun.network.helper_socket import PACKET_BYTES, socket_path
from minirun.network.reconcile import netns_inode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from minirun.network.names.resolver import Resolver

# Long enough for the next container of a script or a person to find it warm, short enough not to be in the way.
IDLE_SECONDS = 2.0
# How often it looks whether its socket is still there and whether something is due.
TICK_SECONDS = 0.25
# A kernel takes milliseconds to destroy a network namespace, and with it the veth. If it is there after this time,
# something else holds the namespace.
REAP_SECONDS = 1.0
# A client sends its request right after it connects.
REQUEST_SECONDS = 5.0


def start(layout: Layout, directory: int) -> bool:
    """Start the helper unless another process just does; return whether it was started.

    Its socket takes connections when this returns: it is made here, and the helper inherits it.
    """
    path = socket_path(directory)
    try:
        lock = hostfiles.lock_file(path.replace(".sock", ".lock"), wait=False)
    except BlockingIOError:
        return False
    try:
        hostfiles.remove(path)  # of a helper that was killed: the lock is free, so it does not run
        with sockets.listen(path, 128) as listener:
            if process.has_threads():
                command = process.own_python(__name__, layout.root, layout.state, str(listener.fileno()), str(lock))
                child = process.start_program(command, (listener.fileno(), lock))
            else:
                child = process.fork()
                if child == 0:
                    _serve(layout, listener.fileno(), lock)
            os.waitpid(child, 0)
        return True
    finally:
        os.close(lock)


def main(root: str, state: str, listener: str, lock: str) -> None:
    """Be the helper that a process with threads has started."""
    _serve(Layout(root, state), int(listener), int(lock))


def _serve(layout: Layout, listener: int, lock: int) -> NoReturn:
    """Become a process that has nothing to do with the one that forked it, and serve."""
    try:
        path = os.path.join(os.path.dirname(os.readlink(f"/proc/self/fd/{lock}")), f"helper-{netns_inode()}.sock")
        leave_the_caller((listener, lock))
        trace.name_process("network helper")
        become_helper("minirun-network")
        Helper(layout, socket.socket(fileno=3), path).serve()
        os._exit(0)
    finally:
        os._exit(1)


class Helper:
    """The loop of the helper: one request after the other.

    `path` is where the socket lies. `_reap` holds the interfaces that should go with their namespaces, with the time
    at which they are deleted if they have not gone.
    """

    def __init__(self, layout: Layout, listener: socket.socket, path: str) -> None:
        self._layout = layout
        self._listener = listener
        self._path = path
        self._inode = _inode(path)
        self._route = netlink.RouteSocket("host")
        self._reap: dict[str, float] = {}
        self._poll = select.poll()
        self._poll.register(listener, select.POLLIN)
        self._resolver: Resolver | None = None

    def serve(self) -> None:
        """Answer requests until there have been none for IDLE_SECONDS or the socket has been removed."""
        self._listener.settimeout(0)
        if not self._serve_next():
            netlink.load_messages()  # nobody waits yet, so use the time
        if account.has_names(self._layout):
            self._names().resume()
        idle_since = time.monotonic()
        while self._is_in_place():
            if self._serve_ready():
                idle_since = time.monotonic()
            self._reap_due()
            if self._resolver is not None:
                self._resolver.tick()
            if time.monotonic() - idle_since > IDLE_SECONDS and not self._is_busy():
                hostfiles.remove(self._path)
        # Nobody can connect any more; serve those who have.
        self._listener.settimeout(0)
        while self._serve_next():
            pass

    def _serve_ready(self) -> bool:
        """Wait for a tick and do what has come in; return whether that was a request of a command."""
        served = False
        for descriptor, _ in self._poll.poll(TICK_SECONDS * 1000):
            if descriptor == self._listener.fileno():
                served = self._serve_next()
            elif self._resolver is not None:
                self._resolver.handle(descriptor)
        return served

    def _is_busy(self) -> bool:
        return bool(self._reap) or (self._resolver is not None and self._resolver.is_needed)

    def _names(self) -> Resolver:
        """Return the name server; most helpers need none."""
        if self._resolver is None:
            from minirun.network.names.resolver import Resolver

            self._resolver = Resolver(self._layout, self._poll)
        return self._resolver

    def _is_in_place(self) -> bool:
        """Tell whether callers find this helper's socket: it may have been removed before its inode was looked up."""
        return self._inode != 0 and _inode(self._path) == self._inode

    def _serve_next(self) -> bool:
        try:
            channel, _ = self._listener.accept()
        except (BlockingIOError, TimeoutError):
            return False
        with channel:
            channel.settimeout(REQUEST_SECONDS)
            try:
                self._answer(channel)
            except OSError:
                pass  # the client has gone
        return True

    def _answer(self, channel: socket.socket) -> None:
        packet, fds, _, _ = socket.recv_fds(channel, PACKET_BYTES, 4)
        if not packet:
            return  # it only wanted to know that there is a helper
        try:
            request = json.loads(packet)
            if request.get("trace"):
                trace.set_tracer(trace.forward_to(channel))
            self._perform(request, fds)
            answer: dict[str, Any] = {}
        except MinirunError as error:
            answer = {"failed": [error.message, error.hint, error.exit_code]}
        except Exception as error:  # noqa: BLE001 - whatever one request does wrong, the next ones must be served
            answer = {"failed": [f"the network helper failed: {type(error).__name__}: {error}", "", 125]}
        finally:
            trace.set_tracer(None)
            for fd in fds:
                os.close(fd)
        channel.send(json.dumps(answer).encode())

    def _perform(self, request: dict[str, Any], fds: list[int]) -> None:
        match request["do"]:
            case "attach":
                endpoint = Endpoint.read_back(request["endpoint"])
                container_id = request["container"]
                inside = None
                if endpoint.network != account.DEFAULT:
                    names = self._names()

                    def inside() -> None:
                        names.listen(container_id, request["pid"])

                bridge.wire(self._layout, self._route, container_id, endpoint, fds[0], inside)
            case "mend":
                bridge.mend_all(self._layout, self._route)
            case "resolve names":
                self._names().resume()
            case "reap":
                if self._resolver is not None:
                    self._resolver.refresh()  # its sockets would hold the namespace
                self._reap[request["veth"]] = time.monotonic() + REAP_SECONDS
            case "remove":
                bridge.remove(self._layout, self._route, request["network"])
            case "remove all":
                bridge.remove_all(self._layout, self._route)
            case unknown:
                raise MinirunError(f"the network helper cannot {unknown}")

    def _reap_due(self) -> None:
        """Delete the interfaces that have outlived their containers; forget those that have gone by themselves."""
        for veth, due in list(self._reap.items()):
            if interfaces.interface_index(veth):
                if time.monotonic() < due:
                    continue
                try:
                    netlink.delete_link(self._route, veth)
                except OSError:
                    pass  # it has gone just now
            del self._reap[veth]


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0
