"""A systemd of the test's own: PID 1 of new namespaces, in a part of the cgroup hierarchy that is delegated to it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from support.eventually import eventually
from support.oci_bundles import mount_point

if TYPE_CHECKING:
    from collections.abc import Iterator

DIRECTORY = f"lab-systemd-{os.getpid()}"
BOOT = """
    echo $$ > {directory}/cgroup.procs
    exec unshare --pid --fork --kill-child --mount --cgroup --ipc --mount-proc sh -eu -c '
        mount -t tmpfs -o mode=755 run /run
        mkdir -p /run/systemd/system
        printf "[Unit]\\nDefaultDependencies=no\\n" > /run/systemd/system/lab.target
        umount /sys/fs/cgroup
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
        exec env --ignore-environment container=lab PATH="$PATH" /lib/systemd/systemd --system --unit=lab.target
    '
"""


@contextlib.contextmanager
def booted() -> Iterator[tuple[str, ...]]:
    """Boot a systemd and return the command that runs others beside it."""
    (mount_point() / "cgroup.subtree_control").write_text("+cpu +cpuset +io +memory +pids")
    directory = mount_point() / DIRECTORY
    directory.mkdir()
    null = subprocess.DEVNULL
    script = BOOT.format(directory=directory)
    with subprocess.Popen(["sh", "-c", script], stdin=null, stdout=null, stderr=null) as unshare:
        children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children")
        eventually(children.read_text, timeout=30)
        pid = children.read_text().split()[0]
        eventually(Path(f"/proc/{pid}/root/run/systemd/private").exists, timeout=60)
        # systemd may not move a process from outside its cgroup namespace's root: callers start below it.
        (directory / "callers").mkdir()
        # The topmost cgroup must be empty to pass controllers on.
        (directory / "callers/cgroup.procs").write_text(str(unshare.pid))
        enter = f'echo $$ > {directory}/callers/cgroup.procs; exec nsenter --target {pid} --mount --pid --cgroup "$@"'
        yield ("sh", "-c", enter, "sh")
        (directory / "cgroup.kill").write_text("1")
        unshare.kill()
    below = sorted((path for path in directory.rglob("*") if path.is_dir()), reverse=True)
    for path in (*below, directory):
        eventually(lambda path=path: removed(path), timeout=30)  # type: ignore[misc]


def removed(cgroup: Path) -> bool:
    """Remove a cgroup; say whether that worked: it does not while processes in it are still ending."""
    try:
        cgroup.rmdir()
    except OSError:
        return not cgroup.exists()
    return True
