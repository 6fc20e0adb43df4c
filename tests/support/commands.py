"""The executables of the package under test, and `minirun` as tests call it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest

import minirun as package
from minirun.launcher.executables import write as write_executables

from .host import reap_orphans

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .host import Host


@pytest.fixture(scope="session")
def executables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with `minirun` and `minirun-oci`, made from the package that these tests import."""
    directory = tmp_path_factory.mktemp("bin")
    paths = [str(Path(package.__file__).parent.parent), *(path for path in sys.path if path.endswith("site-packages"))]
    write_executables(str(directory), str(directory), sys.executable, paths)
    return directory


def feed(pipe: IO[bytes], data: bytes) -> None:
    """Write everything into a pipe and close it; its reader may end early."""
    with contextlib.suppress(BrokenPipeError), pipe:
        pipe.write(data)


class Minirun:
    """Calls minirun as a user does: `minirun("run", "--rm", "busybox", "true").stdout`."""

    def __init__(self, executable: Path) -> None:
        self.executable = executable
        self._started: list[subprocess.Popen[bytes]] = []

    def __call__(
        self,
        *arguments: str | Path,
        input: str | bytes | None = None,  # noqa: A002 - as subprocess.run has it
        check: bool = True,
        timeout: float = 60,
        env: dict[str, str] | None = None,
        cwd: str | Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. With `check`, a status other than 0 fails the test and shows standard error.

        Standard input is empty unless `input` is given. Output is decoded as UTF-8; other bytes become surrogates.
        """
        done = self.raw(*arguments, input=input, check=check, timeout=timeout, env=env, cwd=cwd)
        stdout, stderr = (stream.decode(errors="surrogateescape") for stream in (done.stdout, done.stderr))
        return subprocess.CompletedProcess(done.args, done.returncode, stdout, stderr)

    def raw(
        self,
        *arguments: str | Path,
        input: str | bytes | None = None,  # noqa: A002
        check: bool = True,
        timeout: float = 60,
        env: dict[str, str] | None = None,
        cwd: str | Path | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command as `__call__` does, and leave its output as bytes."""
        process = self.start(*arguments, stdin=subprocess.PIPE, env=env, cwd=cwd)
        data = input.encode() if isinstance(input, str) else input
        # `communicate` would forget what it has not written by the first timeout.
        pipe, process.stdin = process.stdin, None
        threading.Thread(target=feed, args=(pipe, data or b""), daemon=True).start()
        deadline = time.monotonic() + timeout
        stdout = stderr = None
        while stdout is None and time.monotonic() < deadline:
            try:
                stdout, stderr = process.communicate(timeout=0.5)
            except subprocess.TimeoutExpired:
                reap_orphans()
        if stdout is None:
            process.kill()
            stdout, stderr = process.communicate(timeout=5)
            pytest.fail(f"{self.line(arguments)} still ran after {timeout} s\nstdout: {stdout!r}\nstderr: {stderr!r}")
        if check and process.returncode != 0:
            pytest.fail(f"{self.line(arguments)} ended with {process.returncode}\n{stderr.decode(errors='replace')}")
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def start(
        self,
        *arguments: str | Path,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        env: dict[str, str] | None = None,
        cwd: str | Path | None = None,
        own_group: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start a command and return at once; what still runs when the test ends is killed.

        In a process group of its own, as a shell gives it, signals can go to it and to what it starts.
        """
        command = [str(self.executable), *map(str, arguments)]
        environment = {**os.environ, **env} if env else None
        group = 0 if own_group else None
        process = subprocess.Popen(
            command, stdin=stdin, stdout=stdout, stderr=stderr, env=environment, cwd=cwd, process_group=group
        )
        self._started.append(process)
        return process

    def inspect(self, name: str) -> dict[str, Any]:
        """Return what `minirun inspect` says about a container."""
        objects: list[dict[str, Any]] = json.loads(self("inspect", name).stdout)
        return objects[0]

    def wait_until(self, name: str, path: str, value: object, timeout: float = 30) -> None:
        """Wait until a field of `inspect`, such as "State.Status", has a value."""
        found: Any = None
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            found = self.inspect(name)
            for key in path.split("."):
                found = found[key]
            if found == value:
                return
            time.sleep(0.05)
        pytest.fail(f"{path} of {name} is {found!r} and did not become {value!r} within {timeout} s")

    @staticmethod
    def line(arguments: Sequence[str | Path]) -> str:
        return " ".join(["minirun", *map(str, arguments)])

    def close(self) -> None:
        """Kill what was started, and remove every container."""
        for process in self._started:
            process.kill()
            process.wait()
            # Not read to their end: something that stayed behind may still hold the other one.
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        containers = Path("/var/lib/minirun/containers")
        if containers.is_dir() and (ids := [entry.name for entry in containers.iterdir() if len(entry.name) == 64]):
            self._started = []
            self("rm", "--force", *ids)


@pytest.fixture
def minirun(host: Host, executables: Path) -> Iterator[Minirun]:  # noqa: ARG001 - it runs on that host
    """Return a caller of minirun on the test's host; afterwards every container is removed."""
    caller = Minirun(executables / "minirun")
    yield caller
    caller.close()
