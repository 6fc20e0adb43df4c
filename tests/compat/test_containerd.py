"""containerd, its runc shim v2 and ctr with minirun-oci as the runtime's binary."""

from __future__ import annotations

import itertools
import subprocess
from typing import TYPE_CHECKING

import pytest
import saved
from caller import Caller, own_namespaces, remove_cgroups
from docker_daemon import containerd
from support import image_archives
from support.eventually import eventually
from support.oci_bundles import mount_point

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.commands import Minirun

IMAGE = "docker.io/library/busybox:latest"
WAITING = ("sh", "-c", 'trap "exit 3" TERM; while :; do sleep 0.1; done')
numbers = itertools.count()


@pytest.fixture(scope="module")
def ctr(place: Path, busybox_rootfs: Path) -> Iterator[Caller]:
    """Start containerd with a busybox image; return its client."""
    with own_namespaces() as inside, containerd(place, inside) as socket:
        client = Caller(["ctr", "--address", socket, "--namespace", "minirun-test"])
        archive = place / "busybox.tar"
        archive.write_bytes(
            image_archives.files(image_archives.docker_archive([busybox_rootfs.read_bytes()], "busybox:latest"))
        )
        client("images", "import", archive)
        yield client
    remove_cgroups("minirun-test")


class Tasks:
    """Runs containers with minirun-oci, each under a name of its own."""

    def __init__(self, ctr: Caller, executables: Path) -> None:
        self.ctr = ctr
        self.flags = ["--runtime", "io.containerd.runc.v2", "--runc-binary", str(executables / "minirun-oci")]

    def arguments(self, *options: str, command: tuple[str, ...], name: str = "") -> list[str]:
        return ["run", *self.flags, *options, IMAGE, name or f"once-{next(numbers)}", *command]

    def run(self, *options: str, command: tuple[str, ...], code: int = 0) -> str:
        return self.ctr(*self.arguments("--rm", *options, command=command), code=code).stdout


@pytest.fixture
def tasks(ctr: Caller, executables: Path) -> Tasks:
    return Tasks(ctr, executables)


@pytest.fixture
def waiting(ctr: Caller, tasks: Tasks) -> Iterator[str]:
    """Return a container that waits for SIGTERM, and then ends with 3."""
    name = f"waiting-{next(numbers)}"
    ctr(*tasks.arguments("--detach", command=WAITING, name=name))
    yield name
    # The test may have removed the task.
    subprocess.run([*ctr.command, "task", "rm", "--force", name], check=False, capture_output=True)
    ctr("containers", "rm", name)


def status(ctr: Caller, name: str) -> str:
    for line in ctr("task", "ls").stdout.splitlines():
        if line.split()[0] == name:
            return line.split()[2]
    return "none"


@pytest.mark.parametrize(
    ("command", "code"), [(("sh", "-c", "exit 7"), 7), (("no-such",), 1), (("/etc",), 1), (("true",), 0)]
)
def test_exit_codes(tasks: Tasks, command: tuple[str, ...], code: int) -> None:
    tasks.run(command=command, code=code)


def test_a_terminal(ctr: Caller, tasks: Tasks) -> None:
    code, shown = ctr.on_terminal(*tasks.arguments("--rm", "--tty", command=("sh",)), typed="tty; exit 5\n")
    assert code == 5
    assert "/dev/pts/0" in shown


@pytest.mark.parametrize(
    ("options", "script", "output"),
    [
        (["--read-only"], "touch /new 2> /dev/null || echo refused", "refused\n"),
        (["--cwd", "/tmp", "--env", "A=1"], "pwd; echo $A", "/tmp\n1\n"),
        (["--mount", "type=bind,src=/etc,dst=/host,options=rbind:ro"], "test -e /host/passwd && echo seen", "seen\n"),
        (["--seccomp"], "grep Seccomp: /proc/self/status", "Seccomp:\t2\n"),
        (["--cap-add", "CAP_NET_ADMIN"], "grep CapEff /proc/self/status", "CapEff:\t00000000a80435fb\n"),
        (["--privileged"], "grep Seccomp: /proc/self/status", "Seccomp:\t0\n"),
        (["--allow-new-privs"], "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t0\n"),
        ([], "grep NoNewPrivs /proc/self/status; ls /sys/class/net", "NoNewPrivs:\t1\nlo\n"),
    ],
)
def test_options_of_run(tasks: Tasks, options: list[str], script: str, output: str) -> None:
    assert tasks.run(*options, command=("sh", "-c", script)) == output


def test_exec(ctr: Caller, waiting: str) -> None:
    def execute(*command: str, code: int = 0) -> str:
        return ctr("task", "exec", "--exec-id", f"exec-{next(numbers)}", waiting, *command, code=code).stdout

    assert execute("echo", "hello") == "hello\n"
    execute("sh", "-c", "exit 9", code=9)
    execute("no-such", code=1)
    ctr("task", "exec", "--detach", "--exec-id", f"exec-{next(numbers)}", waiting, "touch", "/made")
    eventually(lambda: execute("sh", "-c", "ls / | grep -c '^made$' || true") == "1\n")


def test_exec_on_a_terminal(ctr: Caller, waiting: str) -> None:
    arguments = ["task", "exec", "--tty", "--exec-id", f"exec-{next(numbers)}", waiting, "sh"]
    code, shown = ctr.on_terminal(*arguments, typed="tty; exit 6\n")
    assert code == 6
    assert "/dev/pts/" in shown


def test_life_of_a_task(ctr: Caller, waiting: str) -> None:
    assert status(ctr, waiting) == "RUNNING"
    ctr("task", "pause", waiting)
    assert status(ctr, waiting) == "PAUSED"
    ctr("task", "resume", waiting)
    assert status(ctr, waiting) == "RUNNING"
    assert len(ctr("task", "ps", waiting).stdout.splitlines()) >= 2
    ctr("task", "kill", waiting)
    eventually(lambda: status(ctr, waiting) == "STOPPED")
    assert "exit code 3" in ctr("task", "rm", waiting).stderr


def test_every_process_can_be_killed(ctr: Caller, waiting: str) -> None:
    ctr("task", "kill", "--all", "--signal", "KILL", waiting)
    eventually(lambda: status(ctr, waiting) == "STOPPED")
    assert "exit code 137" in ctr("task", "rm", waiting).stderr


@pytest.mark.needs_cgroup2
def test_limits_and_counters(ctr: Caller, tasks: Tasks) -> None:
    limits = ["--memory-limit", str(64 << 20), "--cpus=0.5"]
    name = "limited"
    ctr(*tasks.arguments("--detach", *limits, command=WAITING, name=name))
    directory = mount_point() / "minirun-test" / name
    assert (directory / "memory.max").read_text() == f"{64 << 20}\n"
    assert (directory / "cpu.max").read_text() == "50000 100000\n"
    metrics = dict(line.split(None, 1) for line in ctr("task", "metrics", name).stdout.splitlines() if line.strip())
    assert metrics["memory.usage_limit"].strip() == str(64 << 20)
    assert int(metrics["pids.current"]) >= 1
    ctr("task", "pause", name)
    assert status(ctr, name) == "PAUSED"
    ctr("task", "resume", name)
    assert len(ctr("task", "ps", name).stdout.splitlines()) >= 2
    ctr("task", "kill", name)
    eventually(lambda: status(ctr, name) == "STOPPED")
    assert "exit code 3" in ctr("task", "rm", name).stderr
    ctr("containers", "rm", name)


@pytest.mark.needs_cgroup2
def test_out_of_memory(tasks: Tasks) -> None:
    tasks.run("--memory-limit", str(20 << 20), command=("tail", "/dev/zero"), code=137)


def test_nothing_is_left(ctr: Caller, tasks: Tasks, place: Path) -> None:
    for _ in range(5):
        tasks.run(command=("true",))
    assert ctr("task", "ls", "--quiet").stdout == ""
    assert ctr("containers", "ls", "--quiet").stdout == ""
    assert not list((place / "state/io.containerd.runtime.v2.task/minirun-test").iterdir())


def test_limits(ctr: Caller, tasks: Tasks) -> None:
    name = f"limited-{next(numbers)}"
    limits = ["--memory-limit", str(64 << 20), "--cpu-quota", "50000", "--cpu-period", "100000"]
    ctr(*tasks.arguments("--detach", *limits, command=WAITING, name=name))
    metrics = dict(line.split(None, 1) for line in ctr("task", "metrics", name).stdout.splitlines() if "." in line)
    limit = metrics.get("memory.limit_in_bytes") or metrics.get("memory.usage_limit")
    assert limit is not None
    assert limit.strip() == str(64 << 20)
    assert int(metrics["pids.current"]) >= 1
    ctr("task", "rm", "--force", name)
    ctr("containers", "rm", name)


@pytest.mark.parametrize("form", saved.FORMS)
def test_what_minirun_saved_is_imported(
    ctr: Caller, minirun: Minirun, make_image: Callable[..., str], tmp_path: Path, form: str
) -> None:
    names = saved.save(minirun, make_image, tmp_path / "saved.tar", form)
    ctr("images", "import", tmp_path / "saved.tar")
    for name in names:
        assert ctr("run", "--rm", name, f"saved-{next(numbers)}", "cat", "/greeting").stdout == "hello"
    ctr("images", "rm", *names)
