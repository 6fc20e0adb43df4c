"""EXPOSE's ports; the table was compared with what `docker build` puts into an image."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.build.dockerfile.error import DockerfileError
from minirun.build.ports import exposed_ports


@pytest.mark.parametrize(
    ("words", "ports"),
    [
        ("", ""),
        ("80", "80/tcp"),
        ("80/UDP 80", "80/udp 80/tcp"),
        ("1-3", "1/tcp 2/tcp 3/tcp"),
        ("83-84/sctp", "83/sctp 84/sctp"),
        ("0 080 65535", "0/tcp 80/tcp 65535/tcp"),
        ("80 80/ 79-81", "80/tcp 79/tcp 81/tcp"),
        ("8080:80 127.0.0.1:9:10 [::1]:1:2 :81 127.0.0.1::3", "80/tcp 10/tcp 2/tcp 81/tcp 3/tcp"),
    ],
)
def test_ports(words: str, ports: str) -> None:
    assert exposed_ports(words.split()) == tuple(ports.split())


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("70000", "invalid containerPort: 70000"),
        ("a", "invalid containerPort: a"),
        ("84-83", "invalid containerPort: 84-83"),
        ("1-2-3", "invalid containerPort: 1-2-3"),
        ("-1", "invalid containerPort: -1"),
        ("+80", "invalid containerPort: +80"),
        ("80,81", "invalid containerPort: 80,81"),
        ("80/foo", "invalid proto: foo"),
        ("80/tcp/x", "invalid proto: tcp/x"),
        ("80:", "no port specified: 80:<empty>"),
        ("x:80", "invalid hostPort: x"),
        ("", "no port specified: <empty>"),
    ],
)
def test_what_is_no_port(word: str, reason: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        exposed_ports([word])
    assert caught.value.reason == reason


@given(st.text(st.sampled_from("0189-:/tcpud²٣")))
def test_any_word_is_ports_or_refused(word: str) -> None:
    try:
        ports = exposed_ports([word])
    except DockerfileError:
        return
    assert all(0 <= int(port.partition("/")[0]) <= 65535 for port in ports)
