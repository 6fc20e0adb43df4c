"""Names on users' networks, as programs in containers meet them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.commands import Minirun
    from tests.support.host import Host

SLEEP = ("sleep", "1000")

# A name server out in the internet that knows one name, by UDP and by TCP; it prints who asks.
SERVER = """
import socket, threading
from dnslib import A, QTYPE, RR, DNSRecord
def answer(data, caller):
    request = DNSRecord.parse(data)
    print(request.q.qname, caller, flush=True)
    reply = request.reply()
    if str(request.q.qname).lower() == "known.example.":
        if request.q.qtype == QTYPE.A:
            reply.add_answer(RR(request.q.qname, QTYPE.A, rdata=A("192.0.2.7")))
    else:
        reply.header.rcode = 3
    return reply.pack()
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("198.51.100.10", 53))
tcp = socket.create_server(("198.51.100.10", 53))
def serve_streams():
    while True:
        connection, caller = tcp.accept()
        with connection:
            length = int.from_bytes(connection.recv(2), "big")
            data = answer(connection.recv(length), caller[0])
            connection.sendall(len(data).to_bytes(2, "big") + data)
threading.Thread(target=serve_streams, daemon=True).start()
print("ready", flush=True)
while True:
    data, caller = udp.recvfrom(4096)
    udp.sendto(answer(data, caller[0]), caller)
"""


@pytest.fixture(autouse=True)
def _network(minirun: Minirun) -> Iterator[None]:
    minirun("network", "create", "front")
    yield
    minirun("rm", "-f", *minirun("ps", "-aq").stdout.split(), check=False)
    minirun("network", "prune", "-f")


@pytest.fixture
def internet_server(host: Host) -> Iterator[subprocess.Popen[str]]:
    command = host.in_internet(sys.executable, "-c", SERVER)
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    yield server
    server.kill()
    server.communicate()


def start(minirun: Minirun, image: str, name: str, *options: str) -> str:
    """Start a container in the network and return its address."""
    minirun("run", "-d", f"--name={name}", "--network=front", *options, image, *SLEEP)
    networks = minirun.inspect(name)["NetworkSettings"]["Networks"]
    address: str = networks["front"]["IPAddress"]
    return address


def resolved(minirun: Minirun, container: str, name: str) -> list[str]:
    """Return the addresses that a container finds for a name."""
    output = minirun("exec", container, "nslookup", name, check=False).stdout.partition("\n\n")[2]
    return [line.split()[1] for line in output.splitlines() if line.startswith("Address:")]


def test_all_names_of_a_container_are_found(minirun: Minirun, busybox_image: str) -> None:
    box = start(minirun, busybox_image, "box")
    # It has started later than the one who asks.
    web = start(minirun, busybox_image, "web", "--network-alias=www", "-h", "frontend")
    short_id = minirun("ps", "-q", "--filter", "name=web").stdout.strip()
    for name in ("web", "www", "frontend", short_id, "web.front", "WEB"):
        assert resolved(minirun, "box", name) == [web]
    assert resolved(minirun, "web", "box") == [box]
    assert "name = web.front" in minirun("exec", "box", "nslookup", web).stdout
    assert minirun("exec", "box", "ping", "-c1", "-W2", "web").returncode == 0
    both = {web, start(minirun, busybox_image, "web2", "--network-alias=www")}
    assert set(resolved(minirun, "box", "www")) == both
    minirun("rename", "web", "site")
    assert (resolved(minirun, "box", "web"), resolved(minirun, "box", "site")) == ([], [web])
    minirun("rm", "-f", "site")
    assert resolved(minirun, "box", "site") == []
    assert resolved(minirun, "box", "www") == list(both - {web})


def test_the_default_bridge_and_other_networks_have_no_such_names(minirun: Minirun, busybox_image: str) -> None:
    start(minirun, busybox_image, "web")
    minirun("network", "create", "back")
    minirun("run", "-d", "--name=other", "--network=back", busybox_image, *SLEEP)
    minirun("run", "-d", "--name=plain", busybox_image, *SLEEP)
    assert resolved(minirun, "other", "web") == []
    assert "127.0.0.11" not in minirun("exec", "plain", "cat", "/etc/resolv.conf").stdout
    done = minirun("exec", "plain", "ping", "-c1", "-W1", "web", check=False)
    assert done.returncode != 0


def test_resolv_conf_names_the_own_server_and_keeps_the_search_list(minirun: Minirun, busybox_image: str) -> None:
    path = Path("/etc/resolv.conf")
    before = path.read_text()
    path.write_text(f"{before}search example.org\noptions timeout:1\n")
    try:
        shown = minirun("run", "--rm", "--network=front", busybox_image, "cat", "/etc/resolv.conf").stdout
        assert shown == "search example.org\nnameserver 127.0.0.11\noptions timeout:1 ndots:0\n"
        flags = ("--dns=192.0.2.1", "--dns-search=a.b", "--dns-option=ndots:2")
        shown = minirun("run", "--rm", "--network=front", *flags, busybox_image, "cat", "/etc/resolv.conf").stdout
        assert shown == "search a.b\nnameserver 127.0.0.11\noptions ndots:2\n"
    finally:
        path.write_text(before)


def test_other_names_are_asked_of_others(
    minirun: Minirun, busybox_image: str, host: Host, internet_server: subprocess.Popen[str]
) -> None:
    start(minirun, busybox_image, "box")
    assert resolved(minirun, "box", "known.example") == ["192.0.2.7"]
    assert internet_server.stdout is not None
    assert internet_server.stdout.readline() == f"known.example. {host.address}\n"
    done = minirun("exec", "box", "nslookup", "unknown.example", check=False)
    assert "NXDOMAIN" in done.stdout + done.stderr
    program = (
        "from dnslib import DNSRecord; "
        "print(DNSRecord.parse(DNSRecord.question('known.example').send('127.0.0.11', tcp=True)).short())"
    )
    pid = minirun.inspect("box")["State"]["Pid"]
    enter = ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", program]
    assert subprocess.run(enter, capture_output=True, text=True, check=True).stdout == "192.0.2.7\n"
    start(minirun, busybox_image, "told", "--dns=203.0.113.1", "--dns=198.51.100.10")
    assert resolved(minirun, "told", "known.example") == ["192.0.2.7"], "the second one knows"


@pytest.mark.usefixtures("internet_server")
def test_no_name_leads_out_of_an_internal_network(minirun: Minirun, busybox_image: str) -> None:
    minirun("network", "create", "--internal", "inner")
    minirun("run", "-d", "--name=box", "--network=inner", busybox_image, *SLEEP)
    assert resolved(minirun, "box", "known.example") == []
    assert len(resolved(minirun, "box", "box")) == 1


def test_a_server_in_a_container_may_have_port_53(minirun: Minirun, busybox_image: str) -> None:
    start(minirun, busybox_image, "box")
    minirun("exec", "box", "httpd", "-p", "53", "-h", "/")
    assert len(resolved(minirun, "box", "box")) == 1


def helper() -> int:
    """Return the process of this network namespace's helper."""
    ours = os.readlink("/proc/self/ns/net")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            name = Path("/proc", pid, "comm").read_text()
            if name.startswith("minirun-network") and os.readlink(f"/proc/{pid}/ns/net") == ours:
                return int(pid)
        except OSError:
            continue
    return 0


def test_names_come_back_after_the_helper_was_killed(minirun: Minirun, busybox_image: str) -> None:
    start(minirun, busybox_image, "box")
    web = start(minirun, busybox_image, "web")
    os.kill(helper(), signal.SIGKILL)
    assert resolved(minirun, "box", "web") == [web]
    third = start(minirun, busybox_image, "third")
    assert resolved(minirun, "box", "third") == [third]
    minirun("rm", "-f", "box", "web", "third")
    eventually(lambda: helper() == 0)


def test_nothing_is_left_of_a_container_that_has_ended(minirun: Minirun, busybox_image: str) -> None:
    address = start(minirun, busybox_image, "box")
    veth = f"mr{int.from_bytes(bytes(map(int, address.split('.'))), 'big'):08x}"
    assert Path("/sys/class/net", veth).exists()
    minirun("rm", "-f", "box")
    eventually(lambda: not Path("/sys/class/net", veth).exists())
    assert os.listdir("/run/minirun/network/bridge/names") == []
