"""Which namespaces a container has of its own, which it shares when asked to, and that they end with it."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.commands import Minirun

    Shell = Callable[..., str]

NAMES = ("pid", "mnt", "net", "ipc", "uts", "cgroup", "user")
READ = f"for n in {' '.join(NAMES)}; do readlink /proc/self/ns/$n; done"


def ours() -> dict[str, str]:
    return {name: os.readlink(f"/proc/self/ns/{name}") for name in NAMES}


def theirs(text: str) -> dict[str, str]:
    return dict(zip(NAMES, text.split(), strict=True))


def shared(text: str) -> set[str]:
    return {name for name, value in theirs(text).items() if value == ours()[name]}


def test_every_namespace_is_the_containers_own(shell: Shell) -> None:
    assert shared(shell("--network=bridge", READ)) == {"user"}
    assert shared(shell("--network=none", READ)) == {"user"}


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ("--network=host", {"net"}),
        ("--pid=host", {"pid"}),
        ("--ipc=host", {"ipc"}),
        ("--uts=host", {"uts"}),
        ("--cgroupns=host", {"cgroup"}),
    ],
)
def test_namespaces_of_the_host(shell: Shell, option: str, names: set[str]) -> None:
    assert shared(shell(option, READ)) == {"user"} | names


def test_namespaces_of_another_container(minirun: Minirun, busybox_image: str, shell: Shell) -> None:
    minirun("run", "-d", "--name=other", "--ipc=shareable", "--network=none", busybox_image, "sleep", "1000")
    other = theirs(minirun("exec", "other", "sh", "-c", READ).stdout)
    joined = theirs(shell("--network=container:other", "--pid=container:other", READ))
    assert {name for name in NAMES if joined[name] == other[name]} == {"net", "pid", "user"}
    assert "sleep 1000" in shell("--pid=container:other", "ps -o args")
    done = minirun("run", "--rm", "--network=container:nobody", busybox_image, "true", check=False)
    assert done.returncode == 125
    minirun("stop", "-t0", "other")
    done = minirun("run", "--rm", "--network=container:other", busybox_image, "true", check=False)
    assert done.returncode == 125
    assert "not running" in done.stderr


def test_only_its_own_processes_are_seen(shell: Shell) -> None:
    assert shell("echo $$; ls -d /proc/[0-9]* | wc -l").split()[0] == "1"
    assert shell("ps -o pid | sed 1d | sort -n | head -1").strip() == "1"


def test_the_end_of_process_1_is_the_end_of_all(minirun: Minirun, busybox_image: str) -> None:
    script = "sleep 1000 & sleep 1000 & echo up; wait"
    minirun("run", "-d", "--name=box", "--network=none", busybox_image, "sh", "-c", script)
    eventually(lambda: minirun("logs", "box").stdout == "up\n")
    pids = minirun("top", "box", "-o", "pid").stdout.split()[1:]
    assert len(pids) == 3
    os.kill(minirun.inspect("box")["State"]["Pid"], signal.SIGKILL)
    minirun("wait", "box")
    assert not [pid for pid in pids if Path("/proc", pid).exists()]


def test_the_host_name_is_the_containers_alone(shell: Shell) -> None:
    before = socket.gethostname()
    assert shell("-h", "inside", "--cap-add=SYS_ADMIN", "hostname changed; hostname") == "changed\n"
    assert socket.gethostname() == before


def test_the_cgroup_namespace_hides_the_hosts_tree(shell: Shell) -> None:
    # v1 hierarchies of a hybrid host keep showing the caller's path; the v2 one is "0::".
    assert "0::/\n" in shell("cat /proc/self/cgroup")
    assert "minirun" in shell("--cgroupns=host", "cat /proc/self/cgroup")


def test_a_network_of_its_own_has_loopback_only(shell: Shell) -> None:
    printed = shell(
        "--network=none", "ls /sys/class/net; ip -o -4 address; ping -c1 -W1 127.0.0.1 > /dev/null && echo up"
    )
    assert printed.split("\n")[0] == "lo"
    assert "127.0.0.1/8" in printed
    assert printed.endswith("up\n")


def test_another_user_namespace_is_not_made(minirun: Minirun, busybox_image: str) -> None:
    assert minirun("run", "--rm", "--userns=host", "--network=none", busybox_image, "true").returncode == 0
    assert minirun("run", "--rm", "--userns=nonsense", busybox_image, "true", check=False).returncode == 125
