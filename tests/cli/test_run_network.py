"""The network as a user of `run` meets it: addresses, published ports, shared and absent networks."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.commands import Minirun
    from tests.support.host import Host

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


# -- what others break ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["port web", "exec web true", "restart -t0 other", "run --rm busybox true"])
def test_whatever_needs_the_network_mends_it(minirun: Minirun, busybox_image: str, command: str) -> None:
    minirun("run", "-d", "--name=other", busybox_image, "sleep", "1000")
    minirun("run", "-d", "--name=web", "-p", "18060:80", busybox_image, *SERVE)
    eventually(lambda: answers("127.0.0.1:18060"))
    subprocess.run("iptables -t nat -F; iptables -F; ip link delete minirun0", shell=True, check=True)
    assert not answers("127.0.0.1:18060")
    minirun(*command.split())
    assert answers("127.0.0.1:18060")


def test_a_network_that_cannot_be_mended_is_told(minirun: Minirun, busybox_image: str, tmp_path: Path) -> None:
    minirun("run", "-d", "--name=web", busybox_image, "sleep", "1000")
    setting = "/proc/sys/net/ipv4/ip_forward"
    (tmp_path / "off").write_text("0\n")
    subprocess.run(["mount", "--bind", "-o", "ro", tmp_path / "off", setting], check=True)
    try:
        done = minirun("exec", "web", "echo", "hello")
        assert done.stdout == "hello\n", "the command does not need the network"
        assert "cannot let the host forward packets" in done.stderr
        done = minirun("run", "--rm", busybox_image, "echo", "hello", check=False)
        assert (done.returncode, done.stdout) == (125, "")
        assert "cannot let the host forward packets" in done.stderr
        assert minirun("ps", "-aq").stdout.count("\n") == 1
    finally:
        subprocess.run(["umount", setting], check=True)


# -- starts that fail -------------------------------------------------------------------------------------------------


def test_who_has_a_port_is_told_by_name(minirun: Minirun, busybox_image: str) -> None:
    minirun("run", "-d", "--name=first", "-p", "18061:80", busybox_image, "sleep", "1000")
    minirun("rename", "first", "web")
    done = minirun("run", "--rm", "--name=late", "-p", "18061:80", busybox_image, "true", check=False)
    assert done.returncode == 125
    assert "port is already allocated" in done.stderr
    assert re.search(r"^hint: The container web publishes it\.", done.stderr, re.MULTILINE)
    with socket.create_server(("127.0.0.1", 18062)):
        done = minirun("run", "--rm", "-p", "18062:80", busybox_image, "true", check=False)
        assert f"(process {os.getpid()}) uses it." in done.stderr
    assert minirun("ps", "-a", "--format", "{{.Names}}").stdout == "web\n"


@pytest.mark.parametrize(
    "options",
    [("-p", "18063:80"), ("-v", "/proc/version/nothing:/x"), ("-u", "nobody-knows")],
    ids=["port", "mount", "user"],
)
def test_a_failed_start_says_what_it_leaves(minirun: Minirun, busybox_image: str, options: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 18063)):
        done = minirun("run", "--rm", "--name=web", *options, busybox_image, "true", check=False)
        assert done.returncode != 0
        assert "stays" not in done.stderr
        assert minirun("ps", "-aq").stdout == ""

        done = minirun("run", "-d", "--name=web", *options, busybox_image, "true", check=False)
        assert done.returncode != 0
        assert done.stdout == ""
        assert "The container web was created and stays: 'minirun start web' tries again" in done.stderr
        assert minirun.inspect("web")["State"]["Status"] == "created"
        done = minirun("start", "web", check=False)
        assert "stays" not in done.stderr, "whoever starts a container knows that it is there"
    minirun("rm", "web")


# -- many ports -------------------------------------------------------------------------------------------------------


def test_thousands_of_exposed_ports(minirun: Minirun, make_image: MakeImage) -> None:
    image = make_image("exposing-many", ExposedPorts={f"{port}/tcp": {} for port in range(1000, 4000)})
    script = "mkdir /www; echo hello > /www/index.html; ulimit -n > /www/limit; exec httpd -f -p 3999 -h /www"
    began = time.monotonic()
    minirun("run", "-d", "--name=many", "-P", image, "sh", "-c", script)
    assert time.monotonic() - began < 20, "it took 20 seconds or more"
    ports = dict(line.split(" -> ") for line in minirun("port", "many").stdout.splitlines())
    assert len(ports) == 3000
    eventually(lambda: answers(ports["3999/tcp"].replace("0.0.0.0", "127.0.0.1")))
    limit = minirun("exec", "many", "cat", "/www/limit").stdout
    assert limit == subprocess.run(["sh", "-c", "ulimit -n"], capture_output=True, text=True, check=True).stdout
    for port in list(ports.values())[::500]:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("0.0.0.0", int(port.rpartition(":")[2])))
    minirun("rm", "-f", "many")
    assert "DNAT --to" not in subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout


def test_a_range_of_ports(minirun: Minirun, busybox_image: str) -> None:
    serve = ("sh", "-c", "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 8500 -h /www")
    minirun("run", "-d", "--name=range", "-p", "8000-9000:8000-9000", busybox_image, *serve)
    eventually(lambda: answers("127.0.0.1:8500"))
    saved = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    assert saved.count("DNAT --to") == 1
    assert minirun("ps", "--format", "{{.Ports}}").stdout == "0.0.0.0:8000-9000->8000-9000/tcp\n"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", 8501), timeout=5)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("0.0.0.0", 9000))
