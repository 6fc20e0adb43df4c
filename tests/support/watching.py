"""A program that looks into whatever joins its container: see watcher.c, and what it must not see."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE = Path(__file__).with_name("watcher.c")
PATIENCE = 30  # seconds


def build_watcher(directory: Path) -> Path:
    """Compile the watcher into a directory, static, for a container without libraries."""
    target = directory / "watcher"
    subprocess.run(["musl-gcc", "-std=gnu11", "-O2", "-static", "-Wall", "-o", target, SOURCE], check=True)
    target.chmod(0o755)
    return target


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"still waiting after {PATIENCE} s: {what}"
        time.sleep(0.02)


class Seen:
    """What the watcher has seen, from what it wrote."""

    def __init__(self, text: str) -> None:
        self.lines = text.splitlines()

    def of(self, kind: str) -> list[str]:
        """Return what was seen of a kind, without the pids."""
        return [line.split(" ", 2)[2].strip() for line in self.lines if line.startswith(f"{kind} ")]

    def processes(self) -> set[int]:
        """Return the processes that were seen."""
        return {int(line.split(" ", 2)[1]) for line in self.lines if not line.startswith("watching")}

    def assert_nothing_of_the_host(self, *programs: str) -> None:
        """Make sure that every process held only what is the container's, and ran only one of these programs."""
        assert self.of("reached") == []
        assert self.of("secret") == []
        of_stub = ("/memfd:exec_stub (deleted)", "/memfd:plan (deleted)")
        for kind in ("exe", "maps"):
            assert set(self.of(kind)) - {*of_stub, *programs} == set(), kind
        foreign = [line for line in self.of("cmdline") if "exec " in line or "python" in line or "--bundle" in line]
        assert foreign == []


def repeat(act: Callable[[], object], output: Callable[[], str], rounds: int) -> Seen:
    """Do something `rounds` times, or more often until the watcher has seen half as many processes; return what it saw.

    On a busy machine it misses some.
    """
    for done in range(10 * rounds):
        if done >= rounds and len(Seen(output()).processes()) >= rounds // 2:
            break
        act()
    found = Seen(output())
    assert len(found.processes()) >= rounds // 2
    return found


def stopped_at_birth(cgroup: Path) -> int:
    """Wait until a process of a cgroup is stopped; return its pid if minirun does not know it as ready yet, else 0.

    In the latter case it is killed.
    """
    found: list[int] = []

    def is_there() -> bool:
        for pid in map(int, (cgroup / "cgroup.procs").read_text().split()):
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if state == "T":
                found.append(pid)
        return bool(found)

    wait_for(is_there, "a process is stopped")
    if any(str(file.readlink()).startswith("socket:") for file in Path(f"/proc/{found[0]}/fd").iterdir()):
        return found[0]  # it would close that as soon as it is ready
    os.kill(found[0], signal.SIGKILL)
    return 0


def has_monitor(pid: int) -> bool:
    """Say whether the parent of a process is its monitor, so that it counts as one that runs."""
    try:
        parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        return Path(f"/proc/{parent}/exe").readlink().name == "monitor"
    except (FileNotFoundError, ProcessLookupError):
        return False
