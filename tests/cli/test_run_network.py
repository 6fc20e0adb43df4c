"""The network as a user of `run` meets it: addresses, published ports, shared and absent networks."""

from __future__ import annotations

import socket
import subprocess
import urllib.request
from typing import TYPE_CHECKING

from eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Host, Minirun

    Shell = Callable[..., str]
    MakeImage = Callable[..., str]

SERVE = ("sh", "-c", "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www")


def fetch(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/", timeout=5) as answer:
        content: bytes = answer.read()
    return content.decode()


def answers(address: str) -> bool:
    try:
        return fetch(address) == "hello\n"
    except OSError:
        return False


def test_the_first_thing_that_people_do(minirun: Minirun, busybox_image: str, host: Host) -> None:
    minirun("run", "-d", "--name=web", "-p", "18050:80", busybox_image, *SERVE)
    eventually(lambda: answers("127.0.0.1:18050"))
    assert fetch(f"{host.address}:18050") == "hello\n"
    outside = host.in_internet("curl", "-s", f"http://{host.address}:18050/")
    assert subprocess.run(outside, capture_output=True, text=True, check=True, timeout=10).stdout == "hello\n"
    address = minirun.inspect("web")["NetworkSettings"]["IPAddress"]
    for target in (address, f"{host.address}:18050"):
        done = minirun("run", "--rm", busybox_image, "wget", "-q", "-O", "-", f"http://{target}/")
        assert done.stdout == "hello\n"
    own = minirun("exec", "web", "wget", "-q", "-O", "-", f"http://{host.address}:18050/")
    assert own.stdout == "hello\n"
    minirun("stop", "-t0", "web")
    assert not answers("127.0.0.1:18050")
    minirun("start", "web")
    eventually(lambda: answers("127.0.0.1:18050"))


def test_addresses_as_docker_gives_them(minirun: Minirun, busybox_image: str) -> None:
    script = "ip -4 -o address show eth0; ip route; cat /sys/class/net/eth0/address; ip link show lo"
    minirun("run", "-d", "--name=box", busybox_image, "sleep", "1000")
    settings = minirun.inspect("box")["NetworkSettings"]
    address, route, _, mac, *lo = minirun("exec", "box", "sh", "-c", script).stdout.splitlines()
    ip = settings["IPAddress"]
    assert f"inet {ip}/{settings['IPPrefixLen']}" in address
    assert route.startswith(f"default via {settings['Gateway']} dev eth0")
    assert mac == "02:42:" + ":".join(f"{int(part):02x}" for part in ip.split("."))
    assert "UP" in lo[0]


def test_the_way_out_is_masqueraded(minirun: Minirun, busybox_image: str, host: Host) -> None:
    assert minirun("run", "--rm", busybox_image, "ping", "-c1", "-W2", host.internet_address).returncode == 0


def test_a_port_on_loopback_only(minirun: Minirun, busybox_image: str, host: Host) -> None:
    minirun("run", "-d", "--name=web", "-p", "127.0.0.1:18051:80", busybox_image, *SERVE)
    eventually(lambda: answers("127.0.0.1:18051"))
    assert not answers(f"{host.address}:18051")


def test_random_ports(minirun: Minirun, busybox_image: str, make_image: MakeImage) -> None:
    minirun("run", "-d", "--name=one", "-p", "80", busybox_image, *SERVE)
    port = int(minirun("port", "one", "80").stdout.splitlines()[0].rpartition(":")[2])
    assert port >= 32768
    eventually(lambda: answers(f"127.0.0.1:{port}"))
    image = make_image("exposing", ExposedPorts={"80/tcp": {}, "53/udp": {}})
    minirun("run", "-d", "--name=all", "-P", "--expose", "81", image, *SERVE)
    lines = {line.split()[0] for line in minirun("port", "all").stdout.splitlines()}
    assert lines == {"80/tcp", "81/tcp", "53/udp"}


def test_a_container_can_have_the_network_of_another(minirun: Minirun, busybox_image: str) -> None:
    minirun("run", "-d", "--name=web", "-h", "shared-name", busybox_image, *SERVE)
    script = (
        "until wget -q -O - http://127.0.0.1/; do sleep 0.05; done 2> /dev/null; hostname; grep shared-name /etc/hosts"
    )
    done = minirun("run", "--rm", "--network=container:web", busybox_image, "sh", "-c", script)
    lines = done.stdout.splitlines()
    assert lines[0] == "hello"
    assert "shared-name" in lines[-1]
    done = minirun("run", "--rm", "--network=container:web", "-p", "18052:80", busybox_image, "true", check=False)
    assert done.returncode == 125
    assert "conflicting options" in done.stderr


def test_the_hosts_network(shell: Shell, minirun: Minirun, busybox_image: str, host: Host) -> None:
    assert f"inet {host.address}/" in shell("--network=host", "ip -4 -o address")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert shell("--network=host", f"grep -c ':{port:04X} 00000000:0000 0A' /proc/net/tcp") == "1\n"
    done = minirun("run", "--rm", "--network=host", "-p", "18053:80", busybox_image, "true")
    assert "discarded" in done.stderr


def test_no_network(shell: Shell) -> None:
    assert shell("--network=none", "ls /sys/class/net; ip route; ping -c1 -W1 198.51.100.10 2>&1 | tail -1") == (
        "lo\nping: sendto: Network is unreachable\n"
    )
