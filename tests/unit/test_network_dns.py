"""The texts of a container's resolv.conf and hosts file."""

from __future__ import annotations

import pytest

from minirun.errors import MinirunError
from minirun.network.resolv_files import hosts_file, nameservers, parse_extra_host, resolv_conf

HOST = """# made by something
nameserver 127.0.0.53
nameserver 192.0.2.1
nameserver ::1
nameserver 2001:db8::1
search example.org example.net
options edns0
"""


def test_name_servers_that_a_container_cannot_reach_are_left_out() -> None:
    text = resolv_conf(HOST)
    assert nameservers(text) == ["192.0.2.1"]
    assert "search example.org example.net\n" in text
    assert "options edns0\n" in text


@pytest.mark.parametrize("host", ["", "nameserver 127.0.0.1\n", "nameserver\n", "search x\nnameserver ::1\n"])
def test_without_a_usable_name_server_public_ones_serve(host: str) -> None:
    assert nameservers(resolv_conf(host)) == ["8.8.8.8", "8.8.4.4"]


def test_options_replace_lines_of_their_own_kind_only() -> None:
    text = resolv_conf(HOST, ["127.0.0.1", "2001:db8::2"], ["a.example", "b.example"], ["ndots:2"])
    assert nameservers(text) == ["127.0.0.1", "2001:db8::2"], "what was asked for is not filtered"
    assert "search a.example b.example\n" in text
    assert "options ndots:2\n" in text
    assert "example.org" not in text
    assert "edns0" not in text
    assert "options edns0\n" in resolv_conf(HOST, search=["a.example"])


def test_a_dot_removes_the_search_list() -> None:
    assert "search" not in resolv_conf(HOST, search=["."])


def test_a_name_server_is_an_address() -> None:
    with pytest.raises(MinirunError, match=r"^dns\.example is not an ip address$"):
        resolv_conf(HOST, ["dns.example"])


def test_hosts_file_is_dockers() -> None:
    text = hosts_file("web", "", "10.64.0.2", ["db:192.0.2.7", "gw:host-gateway", "six:[::2]", "eq=::3"], "10.64.0.1")
    lines = text.splitlines()
    assert lines[:2] == ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    assert lines[-5:] == ["192.0.2.7\tdb", "10.64.0.1\tgw", "::2\tsix", "::3\teq", "10.64.0.2\tweb"]
    assert text.endswith("\n")
    assert hosts_file("web", "example.org", "10.64.0.2").endswith("10.64.0.2\tweb.example.org web\n")
    assert "web" not in hosts_file("web", "", "")


def test_host_gateway_needs_a_gateway() -> None:
    with pytest.raises(MinirunError, match="host-gateway"):
        hosts_file("web", "", "", ["gw:host-gateway"])


@pytest.mark.parametrize(
    "text", ["", "name", ":1.2.3.4", "name:", "name:1.2.3", "name:other", "a b:1.2.3.4", "a\n:::1"]
)
def test_malformed_extra_hosts_are_refused(text: str) -> None:
    with pytest.raises(MinirunError, match="add-host"):
        parse_extra_host(text)
