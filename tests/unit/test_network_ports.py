"""Reading `-p`, `-P` and `--expose`: Docker's syntax and Docker's words."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minirun.errors import MinirunError
from minirun.model.network import PortMapping
from minirun.network.ports import parse_expose, parse_publish, with_exposed

PORTS = st.integers(1, 65535)
ADDRESSES = st.ip_addresses(v=4).map(str).filter(lambda address: address != "0.0.0.0")
PROTOCOLS = st.sampled_from(["tcp", "udp"])


@pytest.mark.parametrize(
    ("text", "mappings"),
    [
        ("80", [PortMapping(80)]),
        ("8080:80", [PortMapping(80, 8080)]),
        (":80", [PortMapping(80)]),
        ("::80", [PortMapping(80)]),
        ("8080:80/udp", [PortMapping(80, 8080, "", "udp")]),
        ("8080:80/TCP", [PortMapping(80, 8080)]),
        ("127.0.0.1:8080:80", [PortMapping(80, 8080, "127.0.0.1")]),
        ("127.0.0.1::80", [PortMapping(80, 0, "127.0.0.1")]),
        ("0.0.0.0:8080:80", [PortMapping(80, 8080)]),
        ("8080-8081:80-81", [PortMapping(80, 8080), PortMapping(81, 8081)]),
        ("80-81", [PortMapping(80), PortMapping(81)]),
        ("8000-8010:80", [PortMapping(80, 8000, "", "tcp", 8010)]),
        ("8000-8000:80", [PortMapping(80, 8000)]),
    ],
)
def test_what_docker_accepts(text: str, mappings: list[PortMapping]) -> None:
    assert list(parse_publish(text)) == mappings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no port specified: <empty>"),
        ("8080:", "no port specified: 8080:<empty>"),
        ("x", "invalid containerPort: x"),
        ("80:x", "invalid containerPort: x"),
        ("x:80", "invalid hostPort: x"),
        ("0:80", "invalid hostPort: 0"),
        ("65536:80", "invalid hostPort: 65536"),
        ("80:99999999999", "invalid containerPort: 99999999999"),
        ("+80:80", "invalid hostPort: +80"),
        ("\uff18\uff10:80", "invalid hostPort: \uff18\uff10"),
        ("8_0:80", "invalid hostPort: 8_0"),
        ("81-80", "invalid containerPort: 81-80"),
        ("8000-8002:80-81", "invalid ranges specified for container and host Ports: 80-81 and 8000-8002"),
        ("8080:80/", "invalid proto: "),
        ("8080:80/icmp", "invalid proto: icmp"),
        ("8080:80/tcp/udp", "invalid proto: tcp/udp"),
        ("localhost:8080:80", "invalid IP address: localhost"),
        ("127.1:8080:80", "invalid IP address: 127.1"),
        ("80:80:80:80", "invalid IP address: 80:80"),
    ],
)
def test_what_docker_refuses(text: str, message: str) -> None:
    with pytest.raises(MinirunError) as caught:
        parse_publish(text)
    assert (caught.value.message, caught.value.exit_code) == (message, 125)


@pytest.mark.parametrize("text", ["[::1]:8080:80", "::1:8080:80", "80:80/sctp"])
def test_what_minirun_does_not_do_is_said(text: str) -> None:
    with pytest.raises(MinirunError, match=r"IPv4 only|tcp and udp"):
        parse_publish(text)


@given(PORTS, PORTS, ADDRESSES, PROTOCOLS)
def test_a_full_mapping_comes_back(container: int, host: int, address: str, protocol: str) -> None:
    (mapping,) = parse_publish(f"{address}:{host}:{container}/{protocol}")
    assert mapping == PortMapping(container, host, address, protocol)


@given(PORTS, PORTS, st.integers(0, 50))
def test_ranges_map_one_to_one(container: int, host: int, more: int) -> None:
    more = min(more, 65535 - container, 65535 - host)
    mappings = parse_publish(f"{host}-{host + more}:{container}-{container + more}")
    assert [(m.host_port, m.container_port) for m in mappings] == [(host + i, container + i) for i in range(more + 1)]


@given(st.text(alphabet="0123456789:-./[]atcpud \0é²", max_size=25))
@example("²:80")
def test_any_text_gives_ports_or_a_sentence(text: str) -> None:
    try:
        mappings = parse_publish(text)
    except MinirunError:
        return
    assert mappings
    for mapping in mappings:
        assert 1 <= mapping.container_port <= 65535
        assert 0 <= mapping.host_port <= 65535
        assert mapping.protocol in ("tcp", "udp")


def test_publish_all_adds_what_is_exposed_and_not_yet_published() -> None:
    published = (PortMapping(80, 8080),)
    assert with_exposed(published, ["80/tcp", "80/udp", "443", "443/tcp", "90-91"]) == (
        PortMapping(80, 8080),
        PortMapping(80, 0, "", "udp"),
        PortMapping(443),
        PortMapping(90),
        PortMapping(91),
    )


@pytest.mark.parametrize("text", ["8080:80", "x", "", "80/x", "0"])
def test_a_malformed_exposed_port_is_refused(text: str) -> None:
    with pytest.raises(MinirunError):
        parse_expose(text)
