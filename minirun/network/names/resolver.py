"""The name server of all containers on users' networks: in the network helper, with sockets in their namespaces.

    in the container:  program --> 127.0.0.11:53 --DNAT, in the container's own nat table--> 127.0.0.11:PORT
    in the helper:     PORT's socket --> answers, or forwarding --> the same socket

The port is not 53 itself, so that a name server in the container may have all of its addresses at port 53. Nobody else
reaches a loopback address of the container's. A socket holds its namespace: it is closed as soon as the note has gone.
"""

from __future__ import annotations

import os
import select
import time

from minirun.kernel import limits
from minirun.kernel.net import firewall
from minirun.kernel.net.queries import accept_query, listen_for_queries
from minirun.kernel.process import NAMESPACE_FLAGS, setns
from minirun.kernel.trace import step
from minirun.network.names import notes
from minirun.network.names.zone import Zone
from minirun.network.resolv_files import OWN_SERVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minirun.kernel.sockets import Socket
    from minirun.model.layout import Layout
    from minirun.network.names.forwarding import Forwarded
    from minirun.network.names.notes import Note

_LONGEST = 65535
_AT_ONCE = 64  # datagrams that are read before others get their turn
_MOST_OPEN = 10_000
_MOST_FORWARDED = 100  # of one container
_MOST_CLIENTS = 200
_MOST_KEPT = 10_000
CLIENT_SECONDS = 10.0


class _Client:
    """A client's connection: what it has sent so far, and until when it may stay."""

    def __init__(self, connection: Socket, place: _Place) -> None:
        self.connection = connection
        self.place = place
        self.received = b""
        self.deadline = time.monotonic() + CLIENT_SECONDS


class _Place:
    """A container whose queries are answered."""

    def __init__(self, container_id: str, note: Note, udp: Socket, tcp: Socket) -> None:
        self.container_id = container_id
        self.note = note
        self.udp = udp
        self.tcp = tcp
        self.forwarded = 0


class Resolver:
    """All that is listened on, by the descriptors that `poll` watches."""

    def __init__(self, layout: Layout, poll: select.poll) -> None:
        self._layout = layout
        self._poll = poll
        limits.allow_open_files(_MOST_OPEN)
        self._resumed = False
        self._state = -1
        self._known: notes.Known = {}
        self._zone = Zone(())
        self._places: dict[str, _Place] = {}
        self._handlers: dict[int, Callable[[], None]] = {}
        self._forwarded: set[Forwarded] = set()
        self._clients: set[_Client] = set()
        self._kept: dict[tuple[str, bytes], bytes] = {}
        self._turn = 0

    # -- containers come and go ---------------------------------------------------------------------------------------

    @property
    def is_needed(self) -> bool:
        """Say whether there is a container whose queries are answered."""
        return bool(self._places)

    def listen(self, container_id: str, pid: int) -> None:
        """Begin to answer a container, in whose network namespace this process is now. Raises OSError, MinirunError."""
        note = notes.read(self._layout, container_id)
        if note is None:
            return
        with step("answer the container's DNS queries", "dns", "Others of its network have names that it can ask for."):
            self._listen(container_id, note, pid)

    def _listen(self, container_id: str, note: Note, pid: int) -> None:
        udp, tcp = listen_for_queries(OWN_SERVER)
        ports = {"udp": udp.getsockname()[1], "tcp": tcp.getsockname()[1]}
        try:
            firewall.restore(_redirection(ports), -1)
            inode = os.stat("/proc/self/ns/net").st_ino
            note = note.replace(pid=pid, namespace=inode, udp_port=ports["udp"], tcp_port=ports["tcp"])
            notes.write(self._layout, container_id, note)
        except BaseException:
            udp.close()
            tcp.close()
            raise
        self._add(_Place(container_id, note, udp, tcp))

    def resume(self) -> None:
        """Answer those, too, whom a killed helper has answered; once. What cannot be done for one is left."""
        if self._resumed:
            return
        self._resumed = True
        for container_id, (_, note) in notes.read_all(self._layout, {}).items():
            if container_id not in self._places and note.pid:
                try:
                    self._listen_again(container_id, note)
                except OSError:
                    continue  # it has ended, and a command will find what it has left

    def _listen_again(self, container_id: str, note: Note) -> None:
        own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        namespace = os.open(f"/proc/{note.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.fstat(namespace).st_ino != note.namespace:
                return  # another process has the number now
            setns(namespace, NAMESPACE_FLAGS["network"], "the container's network namespace")
            try:
                udp, tcp = listen_for_queries(OWN_SERVER, note.udp_port, note.tcp_port)
            finally:
                try:
                    setns(own, NAMESPACE_FLAGS["network"], "the host's network namespace")
                except OSError:
                    os._exit(1)  # see bridge._return_to
            self._add(_Place(container_id, note, udp, tcp))
        finally:
            os.close(namespace)
            os.close(own)

    def _add(self, place: _Place) -> None:
        if former := self._places.pop(place.container_id, None):
            self._remove(former)
        self._places[place.container_id] = place
        self._watch(place.udp, select.POLLIN, lambda: self._read_datagrams(place))
        self._watch(place.tcp, select.POLLIN, lambda: self._accept(place))

    def _remove(self, place: _Place) -> None:
        self._unwatch(place.udp)
        self._unwatch(place.tcp)
        for client in [each for each in self._clients if each.place is place]:
            self._hang_up(client)

    def refresh(self) -> None:
        """Read the notes again if they have changed, and let go of those who have ended."""
        state = notes.state(self._layout)
        if state == self._state:
            return
        found = self._known = notes.read_all(self._layout, self._known)
        self._zone = Zone([note for _, note in found.values()])
        self._kept.clear()
        self._state = state
        for container_id in self._places.keys() - found.keys():
            self._remove(self._places.pop(container_id))

    # -- what comes in ------------------------------------------------------------------------------------------------

    def handle(self, descriptor: int) -> None:
        """Do what a descriptor is ready for."""
        if handler := self._handlers.get(descriptor):
            self.refresh()
            handler()

    def tick(self) -> None:
        """Do what is due by the clock."""
        self.refresh()
        now = time.monotonic()
        for forwarded in [each for each in self._forwarded if each.deadline <= now]:
            self._ask_next(forwarded)
        for client in [each for each in self._clients if each.deadline <= now]:
            self._hang_up(client)

    def _read_datagrams(self, place: _Place) -> None:
        for _ in range(_AT_ONCE):
            try:
                query, sender = place.udp.recvfrom(_LONGEST)
            except OSError:
                return  # no more
            key = (place.note.network, query[2:])
            if (kept := self._kept.get(key)) is not None:
                _send_to(place.udp, query[:2] + kept, sender)
                continue
            self._respond(query, place, _sender(place.udp, sender), key)

    def _respond(
        self, query: bytes, place: _Place, reply: Callable[[bytes], None], key: tuple[str, bytes] | None
    ) -> None:
        """Answer a query, or have it answered by others. A `key` says that it has come as a datagram."""
        # dnslib takes longer to import than a container to start.
        from minirun.network.names.answers import SERVFAIL, Answer, answer, failure

        self._turn += 1
        try:
            found = answer(query, place.note, self._zone, self._turn, stream=key is None)
        except Exception:  # noqa: BLE001 - whatever one query does wrong, the next ones must be answered
            found = Answer(failure(query, SERVFAIL))
        if found is None:
            self._forward(query, place, reply, stream=key is None)
            return
        if found.lasting and key:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[key] = found.data[2:]
        if found.data:
            reply(found.data)

    def _accept(self, place: _Place) -> None:
        try:
            connection = accept_query(place.tcp)
        except OSError:
            return  # it has gone
        if len(self._clients) >= _MOST_CLIENTS:
            connection.close()
            return
        client = _Client(connection, place)
        self._clients.add(client)
        self._watch(connection, select.POLLIN, lambda: self._read_stream(client))

    def _read_stream(self, client: _Client) -> None:
        try:
            data = client.connection.recv(_LONGEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        client.received += data
        if not data:
            self._hang_up(client)
        while len(client.received) >= 2 and client in self._clients:
            length = int.from_bytes(client.received[:2], "big")
            if len(client.received) < 2 + length:
                return
            query, client.received = client.received[2 : 2 + length], client.received[2 + length :]
            client.deadline = time.monotonic() + CLIENT_SECONDS
            self._respond(query, client.place, lambda data: self._send_back(client, data), None)

    def _send_back(self, client: _Client, data: bytes) -> None:
        if client not in self._clients:
            return
        packet = len(data).to_bytes(2, "big") + data
        try:
            if client.connection.send(packet) < len(packet):
                self._hang_up(client)  # it does not read what it asks for
        except OSError:
            self._hang_up(client)

    def _hang_up(self, client: _Client) -> None:
        self._clients.discard(client)
        self._unwatch(client.connection)

    # -- what others are asked ----------------------------------------------------------------------------------------

    def _forward(self, query: bytes, place: _Place, reply: Callable[[bytes], None], *, stream: bool) -> None:
        from minirun.network.names import answers
        from minirun.network.names.forwarding import Forwarded

        def done(data: bytes) -> None:
            place.forwarded -= 1
            reply(data or answers.failure(query, answers.SERVFAIL))

        # From an internal network no name leads out either: a query can carry anything to whoever answers it.
        servers = () if place.note.internal or place.forwarded >= _MOST_FORWARDED else place.note.servers
        place.forwarded += 1
        forwarded = Forwarded(query, servers, done, stream=stream)
        self._forwarded.add(forwarded)
        self._ask_next(forwarded)

    def _ask_next(self, forwarded: Forwarded) -> None:
        self._unwatch(forwarded.socket)
        if not forwarded.ask_next() or forwarded.socket is None:
            self._forwarded.discard(forwarded)
            forwarded.done(b"")
            return
        self._watch(forwarded.socket, forwarded.events, lambda: self._proceed(forwarded))

    def _proceed(self, forwarded: Forwarded) -> None:
        answer = forwarded.proceed()
        if answer is None:
            if forwarded.socket is not None:
                self._poll.modify(forwarded.socket, forwarded.events)
        elif answer:
            self._unwatch(forwarded.socket)
            self._forwarded.discard(forwarded)
            forwarded.done(answer)
        else:
            self._ask_next(forwarded)

    # -- descriptors --------------------------------------------------------------------------------------------------

    def _watch(self, watched: Socket, events: int, handler: Callable[[], None]) -> None:
        self._poll.register(watched, events)
        self._handlers[watched.fileno()] = handler

    def _unwatch(self, watched: Socket | None) -> None:
        """Stop to watch a socket, and close it."""
        if watched is not None and watched.fileno() >= 0:
            self._poll.unregister(watched)
            del self._handlers[watched.fileno()]
            watched.close()


def _sender(socket: Socket, to: tuple[str, int]) -> Callable[[bytes], None]:
    return lambda data: _send_to(socket, data, to)


def _send_to(sender: Socket, data: bytes, to: tuple[str, int]) -> None:
    try:
        sender.sendto(data, to)
    except OSError:
        pass  # the container has gone, or does not read: to a client a datagram may always be lost


def _redirection(ports: dict[str, int]) -> str:
    """Return the batch, for the container's own tables, that leads queries to the ports."""
    to_us = f"-I OUTPUT -d {OWN_SERVER}/32"
    rules = [
        f"{to_us} -p {protocol} -m {protocol} --dport 53 -j DNAT --to-destination {OWN_SERVER}:{port}"
        for protocol, port in ports.items()
    ]
    return "\n".join(["*nat", *rules, "COMMIT", ""])
