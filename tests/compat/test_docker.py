"""Docker with minirun-oci as its default runtime: a dockerd of the test's own, and the docker client."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from caller import Caller, end, launch
from eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GREEDY = ("sh", "-c", "x=0123456789; while :; do x=$x$x; done")
WAITING = ("sh", "-c", 'trap "exit 3" TERM; echo started; while :; do sleep 0.1; done')


@pytest.fixture(scope="module")
def docker(place: Path, executables: Path, busybox_rootfs: Path) -> Iterator[Caller]:
    """Start dockerd with an image `busybox`; return the client."""
    socket = f"unix://{place}/docker.sock"
    folders: list[str | Path] = [
        "--data-root",
        place / "data",
        "--exec-root",
        place / "exec",
        "--pidfile",
        place / "pid",
    ]
    runtime = ["--add-runtime", f"minirun={executables}/minirun-oci", "--default-runtime", "minirun"]
    client = Caller(["docker", "--host", socket], {"DOCKER_CONFIG": str(place), "DOCKER_BUILDKIT": "0"})

    def answers() -> bool:
        version = [*client.command, "version"]
        return subprocess.run(version, check=False, capture_output=True, env=client.env).returncode == 0

    command = ["dockerd", *folders, *runtime, "--host", socket, "--storage-driver", "overlay2"]
    daemon = launch(command, place / "log", answers)
    client("import", busybox_rootfs, "busybox")
    yield client
    end(daemon)


@pytest.fixture
def waiting(docker: Caller) -> Iterator[str]:
    """Return a container that waits for SIGTERM, and then ends with 3."""
    name = docker("run", "--detach", "busybox", *WAITING).stdout.strip()
    eventually(lambda: "started" in docker("logs", name).stdout)
    yield name
    docker("rm", "--force", name)


def state(docker: Caller, name: str, what: str = "{{.State.Status}} {{.State.ExitCode}}") -> str:
    return docker("inspect", "--format", what, name).stdout.strip()


def test_the_runtime_is_the_default_one(docker: Caller) -> None:
    assert docker("info", "--format", "{{.DefaultRuntime}}").stdout == "minirun\n"


@pytest.mark.parametrize(
    ("command", "code"),
    [(("sh", "-c", "exit 7"), 7), (("no-such",), 127), (("/no/such",), 127), (("/etc",), 126), (("true",), 0)],
)
def test_exit_codes(docker: Caller, command: tuple[str, ...], code: int) -> None:
    docker("run", "--rm", "busybox", *command, code=code)


def test_standard_streams(docker: Caller) -> None:
    done = docker("run", "--rm", "-i", "busybox", "sh", "-c", "cat; echo error >&2", input="hello\n")
    assert (done.stdout, done.stderr) == ("hello\n", "error\n")


def test_a_terminal(docker: Caller) -> None:
    code, shown = docker.on_terminal("run", "--rm", "-it", "busybox", "sh", typed="tty; exit 5\n")
    assert code == 5
    assert "/dev/pts/0" in shown


@pytest.mark.parametrize(
    ("options", "script", "output"),
    [
        (["--user", "1000:1001"], "id -u; id -g", "1000\n1001\n"),
        (["--read-only"], "touch /new 2> /dev/null || echo refused", "refused\n"),
        (["--tmpfs", "/t:size=1m"], "stat -f -c %T /t", "tmpfs\n"),
        (["--volume", "data:/data"], "echo kept > /data/f; cat /data/f", "kept\n"),
        (["--network", "none"], "ls /sys/class/net", "lo\n"),
        (["--hostname", "named"], "hostname", "named\n"),
        (["--workdir", "/a/b", "--env", "A=1"], "pwd; echo $A", "/a/b\n1\n"),
        (["--init"], "cat /proc/1/comm", "docker-init\n"),
        (["--cap-drop", "ALL", "--cap-add", "CHOWN"], "grep CapEff /proc/self/status", "CapEff:\t0000000000000001\n"),
        (["--security-opt", "seccomp=unconfined"], "grep Seccomp: /proc/self/status", "Seccomp:\t0\n"),
        (["--security-opt", "no-new-privileges"], "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1\n"),
        (["--ulimit", "nofile=100:200"], "ulimit -n", "100\n"),
        (["--sysctl", "net.ipv4.ip_default_ttl=33"], "cat /proc/sys/net/ipv4/ip_default_ttl", "33\n"),
        ([], "grep Seccomp: /proc/self/status; ls /sys/class/net", "Seccomp:\t2\neth0\nlo\n"),
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


def test_exec(docker: Caller, waiting: str) -> None:
    assert docker("exec", "-i", waiting, "cat", input="hello\n").stdout == "hello\n"
    assert docker("exec", "-u", "1000", "-w", "/tmp", waiting, "sh", "-c", "id -u; pwd").stdout == "1000\n/tmp\n"
    docker("exec", waiting, "sh", "-c", "exit 9", code=9)
    docker("exec", waiting, "/etc", code=126)
    assert "executable file not found" in docker("exec", waiting, "no-such", code=126 if is_old(docker) else 127).stdout
    docker("exec", "--detach", waiting, "touch", "/made")
    eventually(lambda: docker("exec", waiting, "sh", "-c", "ls / | grep -c '^made$' || true").stdout == "1\n")


def is_old(docker: Caller) -> bool:
    """Say whether it is a daemon that tells an exec of a missing program with 126, as 20.10 does."""
    return int(docker("version", "--format", "{{.Server.Version}}").stdout.partition(".")[0]) < 23


def test_exec_on_a_terminal(docker: Caller, waiting: str) -> None:
    code, shown = docker.on_terminal("exec", "-it", waiting, "sh", typed="tty; exit 6\n")
    assert code == 6
    assert "/dev/pts/" in shown


def test_life_of_a_container(docker: Caller, waiting: str) -> None:
    docker("pause", waiting)
    assert state(docker, waiting, "{{.State.Status}}") == "paused"
    docker("unpause", waiting)
    assert "sleep 0.1" in docker("top", waiting).stdout
    docker("stop", waiting)
    assert state(docker, waiting) == "exited 3"
    docker("start", waiting)
    eventually(lambda: docker("logs", waiting).stdout.count("started") == 2)
    docker("restart", waiting)
    docker("kill", waiting)
    eventually(lambda: state(docker, waiting) == "exited 137")


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


def test_a_limit_on_processes(docker: Caller) -> None:
    forks = "sleep 1 & sleep 1 & sleep 1 & sleep 1 & wait"
    done = docker("run", "--rm", "--pids-limit", "3", "busybox", "sh", "-c", forks, code=2)
    assert "can't fork" in done.stderr


def test_too_much_memory(docker: Caller) -> None:
    docker("run", "--name", "greedy", "--memory", "20m", "--memory-swap", "20m", "busybox", *GREEDY, code=137)
    assert state(docker, "greedy", "{{.State.OOMKilled}}") == "true"
    docker("rm", "greedy")


def test_a_paused_container_can_be_removed(docker: Caller) -> None:
    name = docker("run", "--detach", "busybox", "sleep", "100").stdout.strip()
    docker("pause", name)
    docker("rm", "--force", name)


def test_a_container_in_anothers_namespaces(docker: Caller, waiting: str) -> None:
    shared = [f"--network=container:{waiting}", f"--pid=container:{waiting}"]
    script = "hostname -i; cat /proc/1/comm"
    address = state(docker, waiting, "{{.NetworkSettings.IPAddress}}")
    assert docker("run", "--rm", *shared, "busybox", "sh", "-c", script).stdout == f"{address}\nsh\n"


def test_a_restart_policy(docker: Caller) -> None:
    name = docker("run", "--detach", "--restart", "on-failure:1", "busybox", "false").stdout.strip()
    eventually(lambda: state(docker, name, "{{.RestartCount}} {{.State.Status}}") == "1 exited")
    docker("rm", name)


def test_a_health_check(docker: Caller) -> None:
    check = ["--health-cmd", "true", "--health-interval", "200ms"]
    name = docker("run", "--detach", *check, "busybox", "sleep", "100").stdout.strip()
    eventually(lambda: state(docker, name, "{{.State.Health.Status}}") == "healthy")
    docker("rm", "--force", name)


def test_build(docker: Caller, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox\nRUN echo built > /built\nUSER 1000\nRUN id -u > /tmp/user\nCMD cat /built /tmp/user\n"
    )
    docker("build", "--quiet", "--tag", "made", tmp_path)
    assert docker("run", "--rm", "made").stdout == "built\n1000\n"


def test_nothing_is_left(docker: Caller, place: Path) -> None:
    def states() -> int:
        return sum(1 for _ in place.glob("exec/runtime-*/moby/[0-9a-f]*"))

    name = docker("run", "--detach", "busybox", "sleep", "100").stdout.strip()
    assert states() == 1
    docker("rm", "--force", name)
    for _ in range(5):
        docker("run", "--rm", "busybox", "true")
    eventually(lambda: states() == 0)
    assert docker("ps", "--all", "--quiet").stdout == ""
