"""The short verbs do the same in native/oci_launcher.c as in Python, which `--debug` asks for."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.eventually import eventually
from support.oci_bundles import Oci, v1_hierarchies

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.oci_bundles import Bundle

    ShortVerb = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(params=["program", "Python"])
def short(request: pytest.FixtureRequest, oci: Oci, tmp_path: Path) -> ShortVerb:
    """Return a callable for the short verbs: the program alone, without a Python to fall back to, or Python alone."""
    if request.param == "Python":
        log = tmp_path / "log"
        return lambda *words, **more: oci("--debug", "--log", log, *words, **more)
    program = tmp_path / "minirun-oci"
    code = oci.executable.read_bytes()
    length = int(code[-8:])
    nowhere = b"/nonexistent\0/nonexistent\0"
    program.write_bytes(code[: -8 - length] + nowhere + b"%08d" % len(nowhere))
    program.chmod(0o755)
    return Oci(program, oci.root)


def cgroups_named(container: str) -> list[Path]:
    places = [*v1_hierarchies().values(), *Path("/sys/fs/cgroup").glob("unified"), Path("/sys/fs/cgroup")]
    return [found for place in places for found in [*Path(place).glob(container), *Path(place).glob(f"*/{container}")]]


def test_a_life(oci: Oci, bundle: Bundle, short: ShortVerb) -> None:
    container = oci.create(bundle, "trap 'exit 3' USR1; touch /ready; while :; do sleep 0.05; done")
    assert '"status": "created"' in short("state", container).stdout
    short("start", container)
    assert '"status": "running"' in short("state", container).stdout
    assert not (oci.root / container / "exec.fifo").exists()
    eventually((bundle.rootfs / "ready").exists)
    short("kill", container, "USR1")
    eventually(lambda: '"status": "stopped"' in short("state", container).stdout)
    short("delete", container)
    assert not (oci.root / container).exists()
    assert cgroups_named(container) == []


@pytest.mark.parametrize("started", [False, True])
def test_delete_by_force(oci: Oci, bundle: Bundle, short: ShortVerb, started: bool) -> None:
    container = oci.create(bundle, "sleep 60 & sleep 60")
    pid = oci.pid(container)
    if started:
        short("start", container)
    short("delete", "--force", container)
    assert not (oci.root / container).exists()
    assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    assert cgroups_named(container) == []


@pytest.mark.parametrize("word", ["KILL", "SIGKILL", "9"])
def test_kill(oci: Oci, bundle: Bundle, short: ShortVerb, word: str) -> None:
    container = oci.create(bundle, "sleep 60")
    oci("start", container)
    short("kill", container, word)
    eventually(lambda: oci.state(container)["status"] == "stopped")


def test_a_paused_container_is_told_as_paused(oci: Oci, bundle: Bundle, short: ShortVerb) -> None:
    container = oci.create(bundle, "sleep 60")
    oci("start", container)
    oci("pause", container)
    assert '"status": "paused"' in short("state", container).stdout
    short("delete", "-f", container)
    assert not (oci.root / container).exists()


def test_what_the_program_leaves_to_python(oci: Oci, bundle: Bundle, tmp_path: Path) -> None:
    """Each of these calls has something unusual, and works all the same."""
    container = oci.create(bundle, "mkdir /sys/fs/cgroup/below; sleep 60")
    hook = tmp_path / "hook"
    hook.write_text("#!/bin/sh\ncat >> " + str(tmp_path / "heard"))
    hook.chmod(0o755)
    oci("start", container)
    oci("delete", "--force", container)  # a cgroup below, where the container can make one
    assert cgroups_named(container) == []

    bundle.config["hooks"] = {name: [{"path": str(hook)}] for name in ("poststart", "poststop")}
    container = oci.create(bundle, "sleep 60")
    oci("start", container)
    oci("delete", "--force", container)
    assert (tmp_path / "heard").read_text().count(container) == 2


def test_a_container_in_the_hosts_pid_namespace(oci: Oci, bundle: Bundle) -> None:
    """Its processes do not end with the first one: all of them are killed."""
    bundle.without_namespace("pid")
    container = oci.create(bundle, "sleep 1234 & echo $! > /second; sleep 60")
    oci("start", container)
    eventually(lambda: (bundle.rootfs / "second").exists() and (bundle.rootfs / "second").read_text().strip())
    second = int((bundle.rootfs / "second").read_text())
    oci("kill", container, "KILL")
    eventually(lambda: not is_running(second))
    oci("delete", container)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_lock_is_waited_for(oci: Oci, bundle: Bundle, short: ShortVerb) -> None:
    """Whoever changes the container holds its lock: `start` comes after that."""
    import fcntl

    container = oci.create(bundle, "sleep 60")
    lock = os.open(oci.root / container / "lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    command = ["timeout", "--signal=KILL", "1", *oci.command, "start", container]
    if getattr(short, "executable", None):
        command[3] = str(short.executable)  # type: ignore[attr-defined]
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
    assert oci.state(container)["status"] == "created"
    os.close(lock)
    short("start", container)
