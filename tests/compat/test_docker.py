"""Docker with minirun-oci as its default runtime: a dockerd of the test's own, and the docker client."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import saved
from caller import machine
from docker_daemon import docker_daemon
from engines import (
    EXIT_CODES,
    OPTIONS,
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

    from caller import Caller

    from tests.support.commands import Minirun


GREEDY = "x=0123456789; while :; do x=$x$x; done"


@pytest.fixture(scope="module")
def docker(place: Path, executables: Path, busybox_rootfs: Path) -> Iterator[Caller]:
    """Start dockerd with an image `busybox`; return the client."""
    with machine() as (inside, manager):
        runtime = [f"--add-runtime=minirun={executables}/minirun-oci", "--default-runtime=minirun"]
        driver = f"--exec-opt=native.cgroupdriver={manager}"
        with docker_daemon(place, busybox_rootfs, inside, [*runtime, driver]) as client:
            yield client


@pytest.fixture
def waiting(docker: Caller) -> Iterator[str]:
    """Return a container that waits for SIGTERM, and then ends with 3."""
    name = start_waiting(docker)
    yield name
    docker("rm", "--force", name)


def test_the_runtime_is_the_default_one(docker: Caller) -> None:
    assert docker("info", "--format", "{{.DefaultRuntime}}").stdout == "minirun\n"


@pytest.mark.parametrize(("command", "code"), EXIT_CODES)
def test_exit_codes(docker: Caller, command: tuple[str, ...], code: int) -> None:
    docker("run", "--rm", "busybox", *command, code=code)


def test_standard_streams(docker: Caller) -> None:
    check_streams(docker)


@pytest.mark.engine
def test_terminals(docker: Caller, waiting: str) -> None:
    check_terminals(docker, waiting)


@pytest.mark.parametrize(
    ("options", "script", "output"),
    [
        *OPTIONS,
        (["--workdir", "/a/b"], "pwd", "/a/b\n"),
        (["--init"], "cat /proc/1/comm", "docker-init\n"),
        (["--sysctl", "net.ipv4.ip_default_ttl=33"], "cat /proc/sys/net/ipv4/ip_default_ttl", "33\n"),
        ([], "ls /sys/class/net", "eth0\nlo\n"),
        # The daemon passes on all of the host's devices.
        (["--privileged"], "readlink /dev/ptmx; test -c /dev/pts/ptmx && echo there", "pts/ptmx\nthere\n"),
    ],
)
def test_options_of_run(docker: Caller, options: list[str], script: str, output: str) -> None:
    assert docker("run", "--rm", *options, "busybox", "sh", "-c", script).stdout == output


@pytest.mark.parametrize("kind", ["ipc", "uts", "net", "pid"])
def test_a_namespace_of_the_host(docker: Caller, kind: str) -> None:
    """The daemon has a network namespace of its own; the others are those of this test process."""
    option = {"net": "--network=host"}.get(kind, f"--{kind}=host")
    inside = docker("run", "--rm", option, "busybox", "readlink", f"/proc/self/ns/{kind}").stdout.strip()
    assert (inside == os.readlink(f"/proc/self/ns/{kind}")) is (kind != "net")


@pytest.mark.engine
def test_exec(docker: Caller, waiting: str) -> None:
    check_exec(docker, waiting)
    assert "executable file not found" in docker("exec", waiting, "no-such", code=126).stdout


@pytest.mark.engine
def test_life_of_a_container(docker: Caller, waiting: str) -> None:
    check_life(docker, waiting)


@pytest.mark.engine
def test_limits(docker: Caller) -> None:
    limits = ["--memory", "64m", "--memory-swap", "64m", "--cpus", "0.5", "--pids-limit", "20", "--cpuset-cpus", "0"]
    name = docker("run", "--detach", *limits, "busybox", "sleep", "100").stdout.strip()

    def stats() -> str:
        return docker("stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", name).stdout

    assert " / 64MiB 1" in stats()
    assert "Cpus_allowed_list:\t0\n" in docker("exec", name, "cat", "/proc/1/status").stdout
    docker("update", "--memory", "32m", "--memory-swap", "48m", "--cpus", "0.3", "--pids-limit", "30", name)
    assert " / 32MiB 1" in stats()
    docker("rm", "--force", name)


@pytest.mark.engine
def test_a_limit_on_processes(docker: Caller) -> None:
    forks = "sleep 9 & sleep 9 & sleep 9 & sleep 9 & wait"
    done = docker("run", "--rm", "--pids-limit", "3", "busybox", "sh", "-c", forks, code=2)
    assert "can't fork" in done.stderr


@pytest.mark.engine
def test_too_much_memory(docker: Caller) -> None:
    limits = ["--memory", "20m", "--memory-swap", "20m"]
    docker("run", "--rm", *limits, "busybox", "sh", "-c", GREEDY, code=137)
    # When a container's last process dies, containerd 1.6 may see the cgroup go before it has read why; when one dies
    # at once, containerd may not watch yet. This is so with any runtime. So other processes die here, again and again,
    # and the first one goes on.
    script = f"while :; do sh -c '{GREEDY}'; sleep 1; done"
    name = docker("run", "--detach", *limits, "busybox", "sh", "-c", script).stdout.strip()
    until_now = ["--since=1h", "--until=0s", f"--filter=container={name}"]
    eventually(lambda: docker("events", *until_now, "--filter=event=oom").stdout, timeout=60)
    docker("kill", name)
    docker("wait", name)
    assert state(docker, name, "{{.State.OOMKilled}}") == "true"
    docker("rm", name)


@pytest.mark.engine
def test_a_paused_container_can_be_removed(docker: Caller) -> None:
    name = docker("run", "--detach", "busybox", "sleep", "100").stdout.strip()
    docker("pause", name)
    docker("rm", "--force", name)


def test_a_container_in_anothers_namespaces(docker: Caller, waiting: str) -> None:
    shared = [f"--network=container:{waiting}", f"--pid=container:{waiting}"]
    script = "hostname -i; cat /proc/1/comm"
    address = state(docker, waiting, "{{.NetworkSettings.IPAddress}}")
    assert docker("run", "--rm", *shared, "busybox", "sh", "-c", script).stdout == f"{address}\nsh\n"


@pytest.mark.engine
def test_a_restart_policy(docker: Caller) -> None:
    name = docker("run", "--detach", "--restart", "on-failure:1", "busybox", "false").stdout.strip()
    eventually(lambda: state(docker, name, "{{.RestartCount}} {{.State.Status}}") == "1 exited", timeout=60)
    docker("rm", name)


@pytest.mark.engine
def test_a_health_check(docker: Caller) -> None:
    check = ["--health-cmd", "true", "--health-interval", "200ms"]
    name = docker("run", "--detach", *check, "busybox", "sleep", "100").stdout.strip()
    eventually(lambda: state(docker, name, "{{.State.Health.Status}}") == "healthy", timeout=60)
    docker("rm", "--force", name)


@pytest.mark.engine
def test_build(docker: Caller, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox\nRUN echo built > /built\nUSER 1000\nRUN id -u > /tmp/user\nCMD cat /built /tmp/user\n"
    )
    docker("build", "--quiet", "--tag", "made", tmp_path)
    assert docker("run", "--rm", "made").stdout == "built\n1000\n"


@pytest.mark.parametrize("form", saved.FORMS)
def test_what_minirun_saved_is_loaded(
    docker: Caller, minirun: Minirun, make_image: Callable[..., str], tmp_path: Path, form: str
) -> None:
    names = saved.save(minirun, make_image, tmp_path / "saved.tar", form)
    docker("load", "--input", tmp_path / "saved.tar")
    for name in names:
        assert docker("run", "--rm", name).stdout == "hello"
    docker("rmi", *names)


def test_nothing_is_left(docker: Caller, place: Path) -> None:
    def states() -> int:
        return sum(1 for _ in place.glob("exec-root/runtime-*/moby/[0-9a-f]*"))

    name = docker("run", "--detach", "busybox", "sleep", "100").stdout.strip()
    assert states() == 1
    docker("rm", "--force", name)
    for _ in range(5):
        docker("run", "--rm", "busybox", "true")
    eventually(lambda: states() == 0, timeout=60)
    assert docker("ps", "--all", "--quiet").stdout == ""
