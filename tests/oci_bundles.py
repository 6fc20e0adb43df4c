"""Bundles for `minirun-oci`: a busybox, a config.json that a test changes, and the verbs to call with it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

SPEC: dict[str, Any] = {
    "ociVersion": "1.2.0",
    "process": {"cwd": "/", "args": ["sh"], "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
    "root": {"path": "rootfs"},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
    ],
    "linux": {
        "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network", "cgroup")],
        "resources": {},
    },
}


class Containers:
    """Makes containers with `minirun-oci`, below a folder of their own, and removes what is left in the end.

    `prefix` is a command that runs it elsewhere, in other namespaces for example.
    """

    def __init__(self, executable: Path, folder: Path, prefix: tuple[str, ...] = ()) -> None:
        self.root = folder / "state"
        self.bundle = folder / "bundle"
        self.command = [*prefix, str(executable), "--root", str(self.root)]
        binaries = self.bundle / "rootfs/bin"
        binaries.mkdir(parents=True)
        shutil.copy("/bin/busybox", binaries / "busybox")
        for name in ("sh", "cat", "dd", "mkdir", "mknod", "rmdir", "sleep", "true"):
            (binaries / name).symlink_to("busybox")

    def __call__(
        self, *arguments: str, check: bool = True, text: str | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Call `minirun-oci`; with `check` a failure fails the test and shows standard error."""
        done = subprocess.run(
            [*self.command, *arguments], check=False, capture_output=True, text=True, input=text or "", timeout=timeout
        )
        if check:
            assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done

    def configure(
        self, script: str, resources: dict[str, Any] | None = None, path: str | None = None, **others: Any
    ) -> None:
        """Write config.json for a shell script; `others` are further fields."""
        spec = json.loads(json.dumps(SPEC)) | others
        spec["process"]["args"] = ["sh", "-c", script]
        spec["linux"]["resources"] = resources or {}
        if path is not None:
            spec["linux"]["cgroupsPath"] = path
        (self.bundle / "config.json").write_text(json.dumps(spec))

    def run(self, name: str, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the bundle to its end and return what it wrote; `options` are global ones."""
        return self(*options, "run", "--bundle", str(self.bundle), name, check=check)

    def launch(self, name: str, *options: str) -> None:
        """Run the bundle in the background."""
        command = [*self.command, *options, "run", "--detach", "--bundle", str(self.bundle), name]
        null = subprocess.DEVNULL
        # A file and no pipe: the container keeps it open.
        with (self.bundle / "errors").open("w+") as errors:
            done = subprocess.run(command, check=False, stdin=null, stdout=null, stderr=errors, timeout=60)
            errors.seek(0)
            assert done.returncode == 0, errors.read()

    def start(self, name: str, *options: str) -> Path:
        """Run the bundle in the background and return the folder of its cgroup."""
        self.launch(name, *options)
        return cgroup_of(self.state(name)["pid"])

    def state(self, name: str) -> dict[str, Any]:
        """Return what `state` prints."""
        found: dict[str, Any] = json.loads(self("state", name).stdout)
        return found

    def close(self) -> None:
        """Remove every container that is left."""
        for name in os.listdir(self.root) if self.root.is_dir() else []:
            if not name.startswith("."):
                self("delete", "--force", name)


@contextlib.contextmanager
def sleeper(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process and put it into a cgroup; it is ended in any case."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            (folder / "cgroup.procs").write_text(str(process.pid))
            yield process
        finally:
            process.kill()


def mount_point() -> Path:
    """Return where cgroup v2 is mounted."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if line.partition(" - ")[2].startswith("cgroup2 "):
            return Path(line.split()[4])
    raise AssertionError("cgroup v2 is not mounted")


def cgroup_of(pid: int) -> Path:
    """Return the folder of a process's cgroup."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return mount_point() / next(line.removeprefix("0::").lstrip("/") for line in lines if line.startswith("0::"))


def read(folder: Path, *names: str) -> dict[str, str]:
    """Return the texts of a cgroup's files."""
    return {name: (folder / name).read_text().strip() for name in names}


def wait_for(condition: Any, timeout: float = 10) -> None:
    """Wait until a function returns something true."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
