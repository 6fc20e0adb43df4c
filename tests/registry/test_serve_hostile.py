"""`registry serve` and those who mean it no good: what is malformed, endless, slow, or many."""

from __future__ import annotations

import select
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.eventually import eventually
from support.serving import Reply, Served, Store, serving

from minirun.kernel.net.tcp import listen
from minirun.registry.server import connections
from minirun.registry.server.answers import Answer, document
from minirun.registry.server.requests import (
    HEAD_MAX,
    BadRequestError,
    Request,
    byte_range,
    parse_request,
    read_head,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.commands import Minirun


@pytest.fixture
def served(minirun: Minirun, tmp_path: Path) -> Iterator[Served]:
    store = Store(minirun, tmp_path / "root")
    store.load("x:1")
    with serving(store) as served:
        yield served


@pytest.mark.parametrize(
    "path",
    [
        "/v2/../../../etc/passwd",
        "/v2/x/manifests/../../../../etc/passwd",
        "/v2/x/blobs/..%2f..%2f..%2fetc%2fpasswd",
        "/v2/%2e%2e/%2e%2e/blobs/sha256:" + "0" * 64,
        "/v2//etc/passwd/manifests/1",
        "/v2/x/blobs/sha256:../../../images/names.json",
        "/v2/x/blobs/../images/names.json",
        "/v2/x%00/manifests/1",
        "/v2/x/manifests/1%00",
        "/v2/x/manifests/1%0a",
        "/v2/x/manifests/" + "a" * 129,
        "/v2/" + "a/" * 200 + "manifests/1",
        "/v2/" + "a-" * 5000 + "/manifests/1",
        "/etc/passwd",
        "//etc/passwd",
    ],
)
def test_no_path_leads_out_of_the_images(served: Served, path: str) -> None:
    reply = served(path)
    assert reply.status == 404
    assert b"root:" not in reply.body
    assert served("/v2/x/manifests/1").status == 200


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET\r\n\r\n", 400),
        (b"GET /v2/\r\n\r\n", 400),
        (b"GET /v2/ HTTP/1.1\r\n\r\n", 400),
        (b"GET  /v2/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET v2 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET /v2/ HTTP/2.0\r\nHost: h\r\n\r\n", 505),
        (b"GET /v2/ HTTP/1.1\r\nHost: h\r\n folded: x\r\n\r\n", 400),
        (b"GET /v2/ HTTP/1.1\r\nHost : h\r\n\r\n", 400),
        (b"GET /v2/ HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", 400),
        (b"GET /v2/ HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n", 400),
        (b"\x00\x01\x02", 400),
        (b"GET /" + b"a" * (HEAD_MAX + 100), 431),
        (b"GET /v2/ HTTP/1.1\r\nX: " + b"a" * (HEAD_MAX + 100), 431),
        (b"GET /v2/ HTTP/1.1\r\nHost: h\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"PUT /v2/x/manifests/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300000, 405),
        (b"POST /v2/x/blobs/uploads/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 405),
        (b"GET http://h/v2/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 200),
        (b"GET /v2/ HTTP/1.0\r\n\r\n", 200),
        (b"\r\nGET /v2/ HTTP/1.0\r\n\r\n", 200),
    ],
)
def test_malformed_requests(served: Served, data: bytes, status: int) -> None:
    reply = Reply(served.send(data))
    assert reply.status == status
    assert reply.headers["connection"] == "close"


def test_requests_in_a_row(served: Served) -> None:
    one = b"GET /v2/x/tags/list HTTP/1.1\r\nHost: h\r\n\r\n"
    last = b"GET /v2/x/tags/list HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    assert served.send(one * 5 + last).count(b"HTTP/1.1 200 OK\r\n") == 6
    # A body ends the connection: what follows in it is no request.
    smuggled = b"GET /v2/ HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(one) + one
    assert served.send(smuggled).count(b"HTTP/1.1 ") == 1


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """A server in this process, with two places and little patience; return its address."""
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 2)
    monkeypatch.setattr(connections, "_HEAD", 0.3)
    monkeypatch.setattr(connections, "_IDLE", 30)
    monkeypatch.setattr(connections, "_PIECE", 0.3)
    monkeypatch.setattr(connections, "_LAST", 0.3)
    monkeypatch.setattr(connections, "_LOOK", 0.05)
    ended = threading.Event()

    class Server(connections.Server):
        def _hang_up_on_the_slow(self) -> None:
            if ended.is_set():
                raise KeyboardInterrupt
            super()._hang_up_on_the_slow()

    def answer(request: Request) -> Answer:
        return document({}) if request.path == "/" else Answer(200, {}, b"x" * 200_000_000)

    def run() -> None:
        with pytest.raises(KeyboardInterrupt):
            Server(listener, answer, None).run()

    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=run)
        thread.start()
        yield listener.getsockname()[:2]
        ended.set()
        thread.join()


def ask(address: tuple[str, int], path: bytes = b"/") -> socket.socket:
    connection = socket.create_connection(address, timeout=20)
    connection.sendall(b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n" % path)
    return connection


def test_who_trickles_a_request_is_hung_up_on(quick: tuple[str, int]) -> None:
    with socket.create_connection(quick, timeout=20) as slow:

        def is_hung_up_on() -> bool:
            try:
                slow.sendall(b"G")
            except OSError:
                return True
            return False

        eventually(is_hung_up_on)


def test_who_does_not_take_the_answer_is_hung_up_on(quick: tuple[str, int]) -> None:
    with ask(quick, b"/big") as one, ask(quick, b"/big") as other:
        poll = select.poll()
        for stuck in (one, other):
            poll.register(stuck, 0)  # the connection is reset: it need not be read to find out
        eventually(lambda: len(poll.poll(0)) == 2)
        with ask(quick) as third:
            assert third.recv(100).startswith(b"HTTP/1.1 200")


def test_who_idles_gives_way(quick: tuple[str, int]) -> None:
    with ask(quick) as one, ask(quick) as other:
        assert one.recv(100)
        assert other.recv(100)
        for _ in range(10):
            with ask(quick) as new:
                assert new.recv(100)


def test_many_connections_of_one_who_says_nothing(served: Served) -> None:
    silent = [served.connect() for _ in range(300)]
    try:
        assert served("/v2/").status == 200
    finally:
        for connection in silent:
            connection.close()


def refusal_of(read: Callable[[], object]) -> int:
    """Return with which status something is refused, 0 if it is not."""
    try:
        read()
    except BadRequestError as refusal:
        return refusal.status
    return 0


@given(st.binary(max_size=200))
def test_any_head_is_read_or_refused(data: bytes) -> None:
    for head in (data, b"GET /" + data, b"GET / HTTP/1.1\r\nHost: h\r\n" + data):
        status = refusal_of(lambda head=head: parse_request(head))  # type: ignore[misc]
        assert status in (400, 431, 505) or (status == 0 and parse_request(head).path.startswith("/"))


@given(
    st.sampled_from(["GET", "HEAD", "X-Y"]),
    st.text(st.characters(codec="ascii", exclude_characters="?#%", min_codepoint=33), max_size=30),
    st.dictionaries(st.from_regex(r"[a-z][a-z0-9-]{0,9}", fullmatch=True), st.from_regex(r"[!-~]*", fullmatch=True)),
)
def test_what_was_written_is_read(method: str, path: str, headers: dict[str, str]) -> None:
    if path.startswith("/"):
        path = path.lstrip("/")
    headers["host"] = "h"
    lines = [f"{method} /{path} HTTP/1.1", *(f"{name}:  {value} " for name, value in headers.items())]
    request = parse_request("\r\n".join(lines).encode())
    assert (request.method, request.path, request.headers) == (method, f"/{path}", headers)


@given(st.binary(max_size=100), st.lists(st.integers(1, 40), max_size=10))
def test_a_head_may_come_in_any_pieces(rest: bytes, cuts: list[int]) -> None:
    head = b"GET / HTTP/1.1\r\nHost: h"
    waiting = head + b"\r\n\r\n" + rest
    pieces = []
    for cut in cuts:
        pieces.append(waiting[:cut])
        waiting = waiting[cut:]
    pieces = [piece for piece in (*pieces, waiting) if piece]
    found, after = read_head(lambda _: pieces.pop(0), b"")
    assert (found, after + b"".join(pieces)) == (head, rest)


@given(st.text(max_size=30) | st.from_regex(r"\A[0-9]{0,4}-[0-9]{0,4}\Z"), st.integers(0, 1000))
def test_any_range_is_a_part_the_whole_or_refused(text: str, size: int) -> None:
    for spec in (text, f"bytes={text}"):
        status = refusal_of(lambda spec=spec: byte_range(spec, size))  # type: ignore[misc]
        assert status in (0, 416)
        if status == 0 and (found := byte_range(spec, size)):
            assert 0 <= found[0] < found[1] <= size


@given(st.integers(0, 99), st.integers(0, 99), st.integers(1, 99))
def test_a_range_means_what_it_says(first: int, last: int, size: int) -> None:
    data = bytes(range(size))
    if first <= last and first < size:
        begin, end = byte_range(f"bytes={first}-{last}", size) or (0, 0)
        assert data[begin:end] == data[first : last + 1]
    if last:
        begin, end = byte_range(f"bytes=-{last}", size) or (0, 0)
        assert data[begin:end] == data[-last:]
