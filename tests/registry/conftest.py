"""A registry of the tests' own, and a pull into a store of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.fake_registry import FakeRegistry

from minirun.kernel.cpu import host_platform
from minirun.model.image import ImageRef
from minirun.model.layout import Layout
from minirun.model.platform import parse_platform
from minirun.registry import client as client_module
from minirun.registry.http.transport import Transport
from minirun.registry.progress import PullProgress
from minirun.registry.pull import Pulled, pull_image
from minirun.registry.registries_conf import RegistriesConf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    fake = FakeRegistry()
    yield fake
    fake.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Wait milliseconds where minirun waits seconds, and look for no credentials of this machine's user."""
    monkeypatch.setattr(client_module, "wait_before", lambda _attempt: 0.001)
    monkeypatch.setattr(
        client_module,
        "Transport",
        lambda insecure: Transport(insecure, first_wait=0.001, read_timeout=2, certificate_directories=()),
    )
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "root"), str(tmp_path / "state"))


@pytest.fixture
def pull(layout: Layout, registry: FakeRegistry) -> Callable[..., Pulled]:
    """Return a function that pulls `a:TAG` of the registry."""

    def run(tag: str = "1", platform: str = "", conf: RegistriesConf | None = None) -> Pulled:
        reference = ImageRef.parse(f"{registry.host}/a{tag}" if tag.startswith("@") else f"{registry.host}/a:{tag}")
        host = host_platform()
        wanted = parse_platform(platform, host) if platform else None
        return pull_image(layout, reference, host, wanted, PullProgress(), conf or RegistriesConf())

    return run
