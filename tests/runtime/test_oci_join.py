"""What joins a running container, seen by a hostile process in it that may trace everything it sees."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.oci_bundles import make_bundle
from support.watching import build_watcher, repeat, stopped_at_birth, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from support.oci_bundles import Bundle, Oci

ROUNDS = 12
SECRET = "host-secret-" + "5f3c9a"
TRACER = ("CAP_SYS_PTRACE", "CAP_KILL", "CAP_DAC_READ_SEARCH")


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
def make_other(oci_template: tuple[Path, dict[str, Any]], scratch: Path) -> Callable[[], Bundle]:
    """Return a function that makes a second bundle."""
    return lambda: make_bundle(scratch / "other", *oci_template)


def watch(oci: Oci, bundle: Bundle, watcher: Path, *arguments: Path | str) -> tuple[str, Path]:
    """Run the watcher in a container; return its name and the file that it writes to."""
    seen = bundle.path / "seen"
    seen.touch()
    bundle.mount("/watcher", watcher)
    bundle.config["process"]["args"] = ["/watcher", *map(str, arguments)]
    name = oci.new_id()
    oci.save(bundle, "")
    with seen.open("w") as output:
        command = [*oci.command, "run", "--detach", "--bundle", str(bundle.path), name]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=60)
    wait_for(lambda: "watching" in seen.read_text(), "watching")
    return name, seen


@pytest.mark.parametrize("users", ["host", "mapped"])
@pytest.mark.parametrize("capabilities", [TRACER, ("CAP_KILL",)], ids=["tracer", "default"])
def test_exec_shows_nothing_of_the_host(
    oci: Oci, bundle: Bundle, watcher: Path, marker: Path, users: str, capabilities: tuple[str, ...]
) -> None:
    """CVE-2016-9962 and what is behind it: a process seen in there must hold nothing that is not the container's."""
    if users == "mapped":
        bundle.map_users()
    bundle.capabilities(*capabilities)
    name, seen = watch(oci, bundle, watcher, marker, SECRET)
    environment = {**os.environ, "TOKEN": SECRET}

    def join() -> None:
        done = oci("exec", "--env", "A=1", name, "sh", "-c", "echo $A; sleep 0.1", env=environment)
        assert done.stdout == "1\n"

    found = repeat(join, seen.read_text, ROUNDS)
    assert any("sleep 0.1" in line for line in found.of("cmdline"))
    found.assert_nothing_of_the_host("/bin/busybox", "/bin/sh", "/usr/bin/busybox")


@pytest.mark.parametrize("users", ["host", "mapped"])
def test_a_container_that_joins_shows_nothing_of_the_host(
    oci: Oci, bundle: Bundle, make_other: Callable[[], Bundle], watcher: Path, marker: Path, users: str
) -> None:
    """A container that joins another's PID namespace is built outside of it: Podman's pods, `--pid container:`."""
    other = make_other()
    if users == "mapped":
        bundle.map_users()
        other.map_users()
    bundle.capabilities(*TRACER)
    name, seen = watch(oci, bundle, watcher, marker, SECRET)
    pid = oci.pid(name)
    other.namespace("pid", f"/proc/{pid}/ns/pid")
    if users == "mapped":
        other.namespace("user", f"/proc/{pid}/ns/user")
        del other.linux["uidMappings"], other.linux["gidMappings"]
    environment = {**os.environ, "TOKEN": SECRET}

    def join() -> None:
        oci.save(other, "sleep 0.1; cat /proc/1/cmdline")
        done = oci("run", "--bundle", other.path, oci.new_id(), env=environment)
        assert done.stdout.startswith("/watcher\0")

    found = repeat(join, seen.read_text, ROUNDS // 2)
    found.assert_nothing_of_the_host("/bin/busybox", "/bin/sh", "/usr/bin/busybox")


@contextlib.contextmanager
def stopped_exec(oci: Oci, name: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run `exec` until the container has stopped its process before its exec; yield the caller and that process."""
    for _ in range(50):
        command = [*oci.command, "exec", name, "sleep", "1000"]
        null = subprocess.DEVNULL
        with subprocess.Popen(command, stdin=null, stdout=null, stderr=subprocess.PIPE, text=True) as caller:
            try:
                if pid := stopped_at_birth(oci.cgroup(name)):
                    yield caller, pid
                    return
                caller.wait(30)
            finally:
                caller.kill()
    pytest.fail("no process was stopped before its exec")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_exec_of_a_stopped_process_can_be_interrupted(oci: Oci, bundle: Bundle, watcher: Path, number: int) -> None:
    name, _ = watch(oci, bundle, watcher, "stop")
    with stopped_exec(oci, name) as (caller, pid):
        caller.send_signal(number)
        assert caller.wait(30) in (-number, 128 + number)
    assert not os.path.exists(f"/proc/{pid}")
    assert oci("ps", "--format", "json", name).stdout.count(",") == 0


def test_exec_of_a_stopped_process_gives_up(oci: Oci, bundle: Bundle, watcher: Path) -> None:
    name, _ = watch(oci, bundle, watcher, "stop")
    with stopped_exec(oci, name) as (caller, pid):
        _, said = caller.communicate(timeout=90)
        assert caller.returncode == 255
        assert "has not moved for 30 seconds and was killed" in said
    assert not os.path.exists(f"/proc/{pid}")
