"""Podman and conmon with minirun-oci as their runtime."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import saved
from caller import Caller, machine, remove_cgroups
from engines import (
    EXIT_CODES,
    OPTIONS,
    PODMAN_CONFIGURATION,
    WAITING,
    check_exec,
    check_life,
    check_streams,
    check_terminals,
    start_waiting,
    state,
)
from support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.commands import Minirun


@pytest.fixture(scope="module")
def podman(place: Path, executables: Path, busybox_rootfs: Path) -> Iterator[Caller]:
    """Return Podman with an image `localhost/busybox`, in namespaces that end with the tests."""
    (place / "containers.conf").write_text(PODMAN_CONFIGURATION)
    directories: list[str | Path] = [
        "--root",
        place / "root",
        "--runroot",
        place / "runroot",
        "--tmpdir",
        place / "tmp",
    ]
    with machine() as (inside, manager):
        podman = ["podman", *directories, "--runtime", executables / "minirun-oci", f"--cgroup-manager={manager}"]
        # Podman 5 writes a warning to every command's standard error on a host with cgroup v1.
        quiet = {"PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}
        caller = Caller([*inside, *podman], {"CONTAINERS_CONF": str(place / "containers.conf"), **quiet})
        caller("import", busybox_rootfs, "busybox")
        yield caller
        caller("rm", "--all", "--force", "--time=0")
    remove_cgroups("conmon", "libpod_parent")


@pytest.fixture
def waiting(podman: Caller) -> Iterator[str]:
    """Return a container that waits for SIGTERM, and then ends with 3."""
    name = start_waiting(podman)
    yield name
    podman("rm", "--force", "--time=0", name)


@pytest.mark.parametrize(("command", "code"), EXIT_CODES)
def test_exit_codes(podman: Caller, command: tuple[str, ...], code: int) -> None:
    podman("run", "--rm", "busybox", *command, code=code)


def test_standard_streams(podman: Caller) -> None:
    check_streams(podman)


@pytest.mark.engine
def test_terminals(podman: Caller, waiting: str) -> None:
    check_terminals(podman, waiting)


@pytest.mark.parametrize(
    ("options", "script", "output"),
    [
        *OPTIONS,
        (["--preserve-fds", "1"], "test -e /proc/self/fd/3 && echo passed", "passed\n"),
        (["--uidmap=0:500000:1000"], "id -u; awk '{ print $2 }' /proc/self/uid_map", "0\n500000\n"),
        (["--init", "--init-path=/usr/bin/docker-init"], "cat /proc/1/comm", "podman-init\n"),
        pytest.param(
            ["--systemd=always"],
            "stat -f -c %T /run && touch /run/lock/f && echo made",
            "tmpfs\nmade\n",
            marks=pytest.mark.engine,
        ),
    ],
)
def test_options_of_run(podman: Caller, options: list[str], script: str, output: str) -> None:
    # Something to preserve: this shell's descriptor 3.
    opener = Caller(["sh", "-c", 'exec 3< /dev/null; exec "$@"', "sh", *podman.command], podman.env)
    assert opener("run", "--rm", *options, "busybox", "sh", "-c", script).stdout == output


@pytest.mark.parametrize("kind", ["ipc", "uts", "pid"])
def test_a_namespace_of_the_host(podman: Caller, kind: str) -> None:
    inside = podman("run", "--rm", f"--{kind}=host", "busybox", "readlink", f"/proc/self/ns/{kind}").stdout
    assert inside.strip() == os.readlink(f"/proc/self/ns/{kind}")


@pytest.mark.engine
def test_exec(podman: Caller, waiting: str) -> None:
    check_exec(podman, waiting)
    podman("exec", waiting, "no-such", code=127)


@pytest.mark.engine
def test_life_of_a_container(podman: Caller, waiting: str) -> None:
    check_life(podman, waiting)


@pytest.mark.engine
def test_limits(podman: Caller) -> None:
    limits = ["--memory", "64m", "--cpus", "0.5", "--pids-limit", "20", "--cpuset-cpus", "0"]
    name = podman("run", "--detach", *limits, "busybox", "sleep", "100").stdout.strip()

    stats = podman("stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", name).stdout
    assert " / 67.11MB 1" in stats
    assert "Cpus_allowed_list:\t0\n" in podman("exec", name, "cat", "/proc/1/status").stdout
    podman("update", "--memory", "32m", "--cpus", "0.3", name)
    shown = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes 2> /dev/null || cat memory.max"
    assert podman("exec", name, "sh", "-c", shown).stdout == "33554432\n"
    podman("rm", "--force", "--time=0", name)


@pytest.mark.engine
def test_too_much_memory(podman: Caller) -> None:
    greedy = "x=0123456789; while :; do x=$x$x; done"
    podman("run", "--rm", "--memory", "20m", "--memory-swap", "20m", "busybox", "sh", "-c", greedy, code=137)


@pytest.mark.engine
def test_a_created_container(podman: Caller) -> None:
    """`init` is the runtime's create; what was only created can be started, or removed."""
    started, removed = (podman("create", "--rm", "busybox", "echo", "begun").stdout.strip() for _ in range(2))
    podman("init", started, removed)
    assert state(podman, started, "{{.State.Status}}") == "initialized"
    assert podman("start", "--attach", started).stdout == "begun\n"
    podman("rm", removed)


def test_a_container_in_anothers_namespaces(podman: Caller, waiting: str) -> None:
    shared = [f"--network=container:{waiting}", f"--pid=container:{waiting}"]
    script = "[ $(readlink /proc/self/ns/net) = $(readlink /proc/1/ns/net) ] && cat /proc/1/comm"
    assert podman("run", "--rm", *shared, "busybox", "sh", "-c", script).stdout == "sh\n"


@pytest.mark.engine
def test_a_pod(podman: Caller) -> None:
    infra = ["--infra-image", "localhost/busybox", "--infra-command", "sleep 100"]
    pod = podman("pod", "create", "--name", "pod", *infra).stdout.strip()
    podman("run", "--detach", "--pod", "pod", "busybox", *WAITING)
    assert podman("run", "--rm", "--pod", "pod", "busybox", "hostname").stdout == "pod\n"
    podman("pod", "stop", "--time=1", "pod")
    podman("pod", "rm", "--force", "pod")
    remove_cgroups(pod)


@pytest.mark.engine
def test_a_health_check(podman: Caller) -> None:
    name = podman("create", "--health-cmd", "true", "--health-interval", "disable", "busybox", *WAITING).stdout.strip()
    podman("start", name)
    podman("healthcheck", "run", name)
    podman("rm", "--force", "--time=0", name)


def test_nothing_is_left(podman: Caller) -> None:
    """Podman passes no --root: state is in the runtime's own directory."""
    directory = "/run/minirun/oci"
    before = os.listdir(directory)
    name = podman("run", "--detach", "busybox", "sleep", "100").stdout.strip()
    assert name in os.listdir(directory)
    podman("rm", "--force", "--time=0", name)
    for _ in range(5):
        podman("run", "--rm", "busybox", "true")
    eventually(lambda: podman("ps", "--all", "--quiet").stdout == "")
    assert os.listdir(directory) == before


@pytest.mark.parametrize("form", saved.FORMS)
def test_what_minirun_saved_is_loaded(
    podman: Caller, minirun: Minirun, make_image: Callable[..., str], tmp_path: Path, form: str
) -> None:
    names = saved.save(minirun, make_image, tmp_path / "saved.tar", form)
    podman("load", "--input", tmp_path / "saved.tar")
    for name in names:
        assert podman("run", "--rm", name).stdout == "hello"
    podman("rmi", *names)
