"""`exec` and `run --pid container:` seen by a hostile container, which may trace or stop what appears in it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.oci_bundles import cgroup_of
from support.watching import build_watcher, has_monitor, repeat, stopped_at_birth, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.commands import Minirun

ROUNDS = 8
SECRET = "host-secret-" + "91d0e7"
BUSYBOX = ("/bin/busybox", "/bin/sh", "/usr/bin/busybox")


@pytest.fixture(scope="session")
def watcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the program that looks into every process that appears."""
    return build_watcher(tmp_path_factory.mktemp("watcher"))


@pytest.fixture
def marker(scratch: Path) -> Path:
    """Return a file of the host that no container is given."""
    path = scratch / "marker"
    path.write_text("host\n")
    return path


@pytest.fixture
def watch(minirun: Minirun, busybox_image: str, watcher: Path) -> Callable[..., Callable[[], str]]:
    """Return a function that runs the watcher in the container `watching` and returns a function to read its output."""

    def start(options: tuple[str, ...], *arguments: Path | str) -> Callable[[], str]:
        words = ["--name=watching", "--network=none", f"--volume={watcher}:/watcher:ro", *options]
        minirun("run", "-d", *words, busybox_image, "/watcher", *arguments)

        def output() -> str:
            return minirun("logs", "watching").stdout

        wait_for(lambda: "watching" in output(), "watching")
        return output

    return start


@pytest.mark.parametrize("options", [(), ("--cap-add=SYS_PTRACE",)], ids=["default", "tracer"])
def test_exec_shows_nothing_of_the_host(
    minirun: Minirun, watch: Callable[..., Callable[[], str]], marker: Path, options: tuple[str, ...]
) -> None:
    output = watch(options, marker, SECRET)

    def join() -> None:
        done = minirun("exec", "-e", "A=1", "watching", "sh", "-c", "echo $A; sleep 0.1", env={"TOKEN": SECRET})
        assert done.stdout == "1\n"

    found = repeat(join, output, ROUNDS)
    assert any("sleep 0.1" in line for line in found.of("cmdline"))
    found.assert_nothing_of_the_host(*BUSYBOX)


@pytest.mark.parametrize("options", [(), ("--cap-add=SYS_PTRACE",)], ids=["default", "tracer"])
def test_a_container_that_joins_shows_nothing_of_the_host(
    minirun: Minirun,
    watch: Callable[..., Callable[[], str]],
    busybox_image: str,
    marker: Path,
    options: tuple[str, ...],
) -> None:
    output = watch(options, marker, SECRET)
    words = ["run", "--rm", "--network=none", "--pid=container:watching"]
    script = "sleep 0.1; tr '\\0' ' ' < /proc/1/cmdline"

    def join() -> None:
        done = minirun(*words, busybox_image, "sh", "-c", script, env={"TOKEN": SECRET})
        assert done.stdout.startswith("/watcher ")

    found = repeat(join, output, ROUNDS // 2)
    found.assert_nothing_of_the_host(*BUSYBOX)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_exec_of_a_stopped_process_can_be_interrupted(
    minirun: Minirun, watch: Callable[..., Callable[[], str]], number: int
) -> None:
    watch((), "stop")
    cgroup = cgroup_of(minirun.inspect("watching")["State"]["Pid"])
    for _ in range(50):
        caller = minirun.start("exec", "watching", "sleep", "1000")
        pid = stopped_at_birth(cgroup)
        if not pid:
            caller.wait(30)
            continue
        caller.send_signal(number)
        assert caller.wait(30) in (-number, 128 + number)
        wait_for(lambda: not Path(f"/proc/{pid}").exists() or has_monitor(pid), "nothing is left behind")  # noqa: B023
        if not Path(f"/proc/{pid}").exists():
            return
        os.kill(pid, signal.SIGKILL)  # it had reported that it is ready, and was stopped before it closed its socket
    pytest.fail("no process was stopped before its exec")
