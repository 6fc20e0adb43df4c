"""The machine that tests run on: a mount and a network namespace of their own, and an outside world.

`host` moves the test process into namespaces that stand for a machine, with its own /run, /var/lib, /etc, /sys,
interfaces and firewall. A test may change anything in there and look at /proc, `ip` or `iptables` directly.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
PR_SET_CHILD_SUBREAPER = 36


class Host:
    """The machine that tests run minirun on: a mount and a network namespace of this test process.

    `address` is the host's own address towards the outside world, `internet` a network namespace that is that world; it
    answers at `internet_address` and knows no route to containers, so what reaches it has been masqueraded.
    """

    address = "203.0.113.2"
    internet_address = "198.51.100.10"

    def __init__(self) -> None:
        call_kernel("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        call_kernel("unshare", CLONE_NEWNS | CLONE_NEWNET)
        shell = """
            mount --make-rprivate /
            mount -t tmpfs -o mode=755 run /run
            mkdir -p /run/old-cgroup /run/lock
            for name in etc var/lib; do
                changes=/run/overlay/$name
                mkdir -p "$changes/upper" "$changes/work"
                mount -t overlay -o "lowerdir=/$name,upperdir=$changes/upper,workdir=$changes/work" overlay "/$name"
            done
            mkdir -p /var/lib/minirun
            mount -t tmpfs -o mode=711 minirun /var/lib/minirun
            mount -t tmpfs -o mode=755 engines /mnt

            # A sysfs shows the interfaces of the network namespace that it was mounted from.
            mount --rbind /sys/fs/cgroup /run/old-cgroup
            mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
            if [ "$(stat -f -c %T /run/old-cgroup)" = tmpfs ]; then
                # Many hierarchies, below a tmpfs into which Podman writes as if it were one.
                mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
                for hierarchy in /run/old-cgroup/*; do
                    place=/sys/fs/cgroup/${hierarchy##*/}
                    if [ -L "$hierarchy" ]; then
                        cp -P "$hierarchy" "$place"
                    elif mountpoint -q "$hierarchy"; then
                        mkdir "$place"
                        mount --rbind "$hierarchy" "$place"
                    fi
                done
            else
                mount --rbind /run/old-cgroup /sys/fs/cgroup
            fi
            umount --lazy /run/old-cgroup
            rmdir /run/old-cgroup

            ip link set lo up
            ip netns add internet
            ip link add eth0 type veth peer name uplink netns internet
            ip address add 203.0.113.2/24 dev eth0
            ip link set eth0 up
            ip -n internet link set lo up
            ip -n internet address add 203.0.113.1/24 dev uplink
            ip -n internet address add 198.51.100.10/32 dev lo
            ip -n internet link set uplink up
            ip route add default via 203.0.113.1
            rm -f /etc/resolv.conf
            echo nameserver 198.51.100.10 > /etc/resolv.conf
        """
        subprocess.run(["sh", "-eu", "-c", shell], check=True, stdin=subprocess.DEVNULL)

    def in_internet(self, *command: str) -> list[str]:
        """Return the command line that runs `command` out in the internet."""
        return ["ip", "netns", "exec", "internet", *command]


def call_kernel(name: str, *arguments: int) -> None:
    """Call a C library function for which Python 3.11 has none."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def descendants() -> set[int]:
    """Return the living processes that come from this test process, the orphaned ones too (it is their subreaper)."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                after_name = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended by now
            if after_name[0] not in "ZX":
                parents[int(entry)] = int(after_name[1])
    found = {os.getpid()}
    grown = True
    while grown:
        new = {pid for pid, parent in parents.items() if parent in found} - found
        found |= new
        grown = bool(new)
    return found - {os.getpid()}


def reap_orphans() -> None:
    """Reap processes of containers whose parent was killed, as process 1 does.

    A PID namespace ends only when all of its processes are reaped.
    """
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        try:
            status = Path("/proc", pid, "status").read_text()
            numbers = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
            if "State:\tZ" in status and len(numbers) > 1:
                os.waitpid(int(pid), os.WNOHANG)
        except OSError:
            continue  # somebody else has reaped it


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    """Move this test process into a host of its own, for the rest of its life."""
    assert os.geteuid() == 0, "tests that run containers need root: sudo scripts/test"
    yield Host()
    # A process whose parent dies becomes a child of this one, and may by then have started another: until none is left.
    deadline = time.monotonic() + 30
    while pids := descendants():
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        # The first process of a PID namespace ends only when every process in it is reaped; we reap those of `exec`.
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        assert time.monotonic() < deadline, f"these do not end: {pids}"
        time.sleep(0.01)


@pytest.fixture
def internet(host: Host) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts a program out in the internet; it is ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*command: str) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        started.append(subprocess.Popen(host.in_internet(*command), text=True, **pipes))  # type: ignore[call-overload]
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Return a directory that every user may enter, unlike pytest's own; for bind mounts."""
    path = Path(tempfile.mkdtemp(prefix="minirun-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)
