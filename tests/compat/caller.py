"""Calls a foreign engine's client, with a limit on the time, and gives it a terminal if asked."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.eventually import eventually
from support.oci_bundles import host_has_cgroup2
from support.systemd_machine import booted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PATIENCE = 90  # seconds for one call: an emulated machine takes a tenth of that


class Caller:
    """`docker("run", "busybox", "true").stdout`: `command` is what comes before the arguments."""

    def __init__(self, command: Sequence[str | Path], env: dict[str, str] | None = None) -> None:
        self.command = [str(word) for word in command]
        self.env = {**os.environ, **(env or {})}

    def __call__(
        self,
        *arguments: str | Path,
        input: str | None = None,  # noqa: A002 - as subprocess.run has it
        code: int = 0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a call to its end; its exit status must be `code`."""
        words = [*self.command, *map(str, arguments)]
        stdin: dict[str, object] = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
        done = subprocess.run(  # type: ignore[call-overload]
            words, check=False, capture_output=True, text=True, timeout=PATIENCE, env=self.env, **stdin
        )
        assert done.returncode == code, f"{words} ended with {done.returncode}\n{done.stdout}{done.stderr}"
        return done  # type: ignore[no-any-return]

    def on_terminal(self, *arguments: str | Path, typed: str = "", prompt: str = "# ") -> tuple[int, str]:
        """Run a call on a terminal and type a line at its first prompt; return its exit status and what it showed."""
        words = [*self.command, *map(str, arguments)]
        pid, master = pty.fork()
        if pid == 0:
            try:
                os.execvpe(words[0], words, self.env)
            finally:
                os._exit(127)
        shown, end = "", time.monotonic() + PATIENCE
        try:
            while time.monotonic() < end:
                if not select.select([master], [], [], 0.1)[0]:
                    continue
                try:
                    shown += os.read(master, 65536).decode(errors="replace")
                except OSError:  # EIO: nobody has the terminal open any more
                    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown
                if typed and prompt in shown:
                    os.write(master, typed.encode())
                    typed = ""
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            pytest.fail(f"{words} still ran after {PATIENCE} s and had shown {shown!r}")
        finally:
            os.close(master)


@contextlib.contextmanager
def own_namespaces() -> Iterator[list[str]]:
    """Make a mount and a network namespace; return the command that runs others in them."""
    script = "ip link set lo up; exec sleep infinity"
    holder = subprocess.Popen(["unshare", "--mount", "--net", "--propagation=private", "sh", "-ec", script])
    try:
        eventually(lambda: os.readlink(f"/proc/{holder.pid}/exe").endswith("sleep"), timeout=PATIENCE)
        yield ["nsenter", "--mount", "--net", f"--target={holder.pid}"]
    finally:
        end(holder)


@contextlib.contextmanager
def machine() -> Iterator[tuple[Sequence[str], str]]:
    """Yield a place for an engine: the command that runs others there, and what makes its cgroups.

    On cgroup v2 alone that is systemd, as on most machines; elsewhere it is the engine, in namespaces of its own.
    """
    if host_has_cgroup2():
        with booted() as beside_systemd:
            yield beside_systemd, "systemd"
    else:
        with own_namespaces() as inside:
            yield inside, "cgroupfs"


def launch(command: Sequence[str | Path], log: Path, ready: Callable[[], bool]) -> subprocess.Popen[bytes]:
    """Start a daemon and wait until it is ready."""
    with log.open("wb") as file:
        daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    end = time.monotonic() + PATIENCE
    while not ready():
        if daemon.poll() is not None or time.monotonic() > end:
            daemon.kill()
            daemon.wait()
            pytest.fail(f"{' '.join(map(str, command))} does not run here:\n{log.read_text()[-3000:]}")
        time.sleep(0.05)
    return daemon


def end(daemon: subprocess.Popen[bytes]) -> None:
    """End a daemon, in its own way if it can."""
    daemon.terminate()
    try:
        daemon.wait(15)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def remove_cgroups(*names: str) -> None:
    """Remove the empty cgroups of these names, the lower ones first: engines leave parents of containers behind."""
    for name in names:
        for directory, below, _ in os.walk("/sys/fs/cgroup"):
            if name in below:
                # It may be in use: somebody else's containers have the same parent.
                with contextlib.suppress(OSError):
                    Path(directory, name).rmdir()
