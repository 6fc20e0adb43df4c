"""What is read from others' files and headers: right, and never a crash."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.errors import MinirunError
from minirun.model.image import ImageRef
from minirun.registry import registries_conf
from minirun.registry.auth.challenge import Challenge, parse_challenges
from minirun.registry.http.proxies import is_loopback, proxy_for
from minirun.registry.http.retries import wait_before
from minirun.registry.reference_names import candidates
from minirun.storage.images import stored_name

CONF = """
unqualified-search-registries = ["quay.io"]
[[registry]]
prefix = "docker.io/library"
location = "mirror.example/hub"
[[registry.mirror]]
location = "cache.example:5000"
insecure = true
[[registry]]
location = "bad.example"
blocked = true
[aliases]
"fedora" = "registry.fedoraproject.org/fedora"
"""


@pytest.mark.parametrize(
    ("header", "challenges"),
    [
        ('Basic realm="a, b"', [Challenge("basic", {"realm": "a, b"})]),
        (
            'Bearer realm="https://x/t",service=s,scope="repository:a:pull,push"',
            [Challenge("bearer", {"realm": "https://x/t", "service": "s", "scope": "repository:a:pull,push"})],
        ),
        ('Negotiate, basic realm="q\\"q"', [Challenge("negotiate", {}), Challenge("basic", {"realm": 'q"q'})]),
        ("", []),
    ],
)
def test_challenges(header: str, challenges: list[Challenge]) -> None:
    assert parse_challenges(header) == challenges


@given(st.text(alphabet='Basic Bearer=",\\ a:\t\xe9', max_size=60) | st.text(max_size=60))
def test_any_challenge_is_read(header: str) -> None:
    for challenge in parse_challenges(header):
        assert challenge.scheme == challenge.scheme.lower()


def test_registries_conf() -> None:
    conf = registries_conf.parse(CONF)
    places = conf.locations(ImageRef.parse("busybox"))
    assert [(place.registry, place.repository, place.insecure) for place in places] == [
        ("cache.example:5000", "busybox", True),
        ("mirror.example", "hub/busybox", False),
    ]
    assert [place.registry for place in conf.locations(ImageRef.parse("busybox"), push=True)] == ["mirror.example"]
    assert [place.registry for place in conf.locations(ImageRef.parse("me/x"))] == ["docker.io"]
    assert conf.is_insecure("cache.example:5000")
    assert not conf.is_insecure("mirror.example")
    with pytest.raises(MinirunError, match=r"registry bad\.example is blocked"):
        conf.locations(ImageRef.parse("bad.example/x"))


def test_short_names() -> None:
    conf = registries_conf.parse(CONF)
    assert [str(name) for name in candidates("x:1", conf)] == ["docker.io/library/x:1", "quay.io/x:1"]
    assert [str(name) for name in candidates("docker.io/x", conf)] == ["docker.io/library/x:latest"]
    assert [str(name) for name in candidates("fedora:40", conf)] == ["registry.fedoraproject.org/fedora:40"]
    assert [str(name) for name in candidates("localhost:5000/x", conf)] == ["localhost:5000/x:latest"]


@given(
    st.text(max_size=200)
    | st.lists(
        st.sampled_from([*CONF.splitlines(), "[[registry]]", "prefix = 3", "mirror = 1", "[aliases]", "a = 1"])
    ).map("\n".join)
)
def test_any_registries_conf_is_read_or_refused(text: str) -> None:
    try:
        conf = registries_conf.parse(text)
        conf.locations(ImageRef.parse("busybox"))
    except MinirunError:
        pass


@given(st.text(max_size=60) | st.text(alphabet="ab./:@_-", max_size=20))
def test_any_reference_is_read_or_refused(text: str) -> None:
    try:
        for name in candidates(text, registries_conf.parse(CONF)):
            assert ImageRef.parse(str(name)) == name
    except MinirunError:
        pass


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("localhost/ux/app:1", "ux/app:1"),
        ("docker.io/ux/app:1", "localhost/ux/app:1"),
        ("localhost/app:1", "app:1"),
        ("docker.io/library/app:1", "localhost/app:1"),
    ],
)
def test_a_name_without_a_registry_is_one_name(stored: str, asked: str) -> None:
    assert str(stored_name({stored: "id"}, ImageRef.parse(asked))) == stored
    assert stored_name({stored: "id"}, ImageRef.parse("other/app:1")) is None


@pytest.mark.parametrize(
    ("exempt", "host", "used"),
    [
        ("", "r.example", True),
        ("r.example", "r.example", False),
        ("example", "r.example", False),
        (".example", "r.example", False),
        ("r.example:80", "r.example", True),
        ("r.example:443", "r.example", False),
        ("10.0.0.0/8", "10.1.2.3", False),
        ("10.0.0.0/8", "11.1.2.3", True),
        ("*", "r.example", False),
        ("xample", "r.example", True),
        ("", "127.0.0.9", False),
        ("", "localhost", False),
    ],
)
def test_proxies(exempt: str, host: str, used: bool) -> None:
    environment = {"https_proxy": "proxy:3128", "NO_PROXY": exempt}
    assert proxy_for("https", host, 443, environment) == ("http://proxy:3128" if used else "")
    assert proxy_for("http", host, 80, environment) == ""


@given(st.text(max_size=20))
def test_any_host_is_loopback_or_not(host: str) -> None:
    assert is_loopback(host) in (True, False)


@given(st.text(max_size=40))
def test_any_retry_after_is_a_wait(text: str) -> None:
    assert wait_before(2, {"Retry-After": text}) >= 0


def test_waits() -> None:
    assert wait_before(1, {"Retry-After": "7"}) == 7
    assert wait_before(1, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert [wait_before(attempt) for attempt in (1, 2, 3)] == [0.25, 0.5, 1.0]
