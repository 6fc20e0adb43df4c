"""Docker, Podman and containerd pull from `minirun registry serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from caller import Caller
from docker_daemon import containerd, docker_daemon
from engines import PODMAN_CONFIGURATION
from support.serving import Served, Store, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.commands import Minirun


@pytest.fixture
def store(minirun: Minirun, tmp_path: Path) -> Store:
    store = Store(minirun, tmp_path / "root")
    store.load("example.org/class/web:1", "class/web:2")
    return store


@pytest.fixture
def served(store: Store) -> Iterator[Served]:
    with serving(store) as served:
        yield served


def image_id(store: Store) -> str:
    return store("images", "-q", "--no-trunc", "class/web:2").strip()


def stated(served: Served) -> str:
    return served("/v2/class/web/manifests/1", "HEAD").headers["docker-content-digest"]


def test_docker(store: Store, served: Served, place: Path, busybox_rootfs: Path) -> None:
    with docker_daemon(place, busybox_rootfs, [], ["--iptables=false", "--bridge=none"]) as docker:
        name = f"{served.place}/class/web"
        docker("pull", f"{name}:1")
        digests = docker("image", "inspect", "--format", "{{.Id}} {{.RepoDigests}}", f"{name}:1").stdout
        assert digests == f"{image_id(store)} [{name}@{stated(served)}]\n"
        docker("rmi", f"{name}:1")
        docker("pull", f"{name}@{stated(served)}")
        docker("pull", "--all-tags", name)
        assert docker("images", "--format", "{{.Tag}}", name).stdout.split() == ["1", "2"]
        docker("tag", "busybox", f"{name}:3")
        assert "this registry is for pulling only" in docker("push", f"{name}:3", code=1).stderr


def test_podman(store: Store, served: Served, place: Path) -> None:
    (place / "containers.conf").write_text(PODMAN_CONFIGURATION)
    directories = [f"--{name}={place}/podman/{name}" for name in ("root", "runroot", "tmpdir")]
    environment = {"CONTAINERS_CONF": str(place / "containers.conf"), "PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}
    podman = Caller(["podman", *directories], environment)
    name = f"{served.place}/class/web:1"
    podman("pull", "--tls-verify=false", name)
    shown = podman("image", "inspect", "--format", "sha256:{{.Id}} {{.Digest}}", name).stdout
    assert shown == f"{image_id(store)} {stated(served)}\n"


def test_containerd(served: Served, place: Path) -> None:
    place = place / "alone"
    place.mkdir()
    with containerd(place, []) as socket:
        ctr = Caller(["ctr", "--address", socket, "--namespace", "minirun-test"])
        name = f"{served.place}/class/web:1"
        ctr("images", "pull", "--plain-http", name)
        [line] = [line for line in ctr("images", "ls").stdout.splitlines() if line.startswith(name)]
        assert stated(served) in line
