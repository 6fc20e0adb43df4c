"""Namespaces of config.json: fresh and by path, what needs which, time offsets, and parameters of the kernel."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.oci_bundles import Bundle, Oci

FILES = {"pid": "pid", "mount": "mnt", "network": "net", "ipc": "ipc", "uts": "uts", "cgroup": "cgroup", "time": "time"}


@pytest.fixture
def holder() -> Iterator[int]:
    """Return the pid of a process in namespaces of its own, of every kind that unshare(1) knows except user.

    Ask for it before `oci`: its PID namespace ends when the containers that joined it have ended.
    """
    command = ["unshare", "--mount", "--net", "--ipc", "--uts", "--cgroup", "--time", "--pid", "--fork", "sleep", "60"]
    with subprocess.Popen(command) as unshare:
        children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children")
        while not (pids := children.read_text().split()) or Path(f"/proc/{pids[0]}/comm").read_text() != "sleep\n":
            time.sleep(0.01)
        yield int(pids[0])
        os.kill(int(pids[0]), 9)


def namespace_of(pid: int | str, kind: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{FILES[kind]}")


@pytest.mark.parametrize("kind", FILES)
def test_fresh(oci: Oci, bundle: Bundle, kind: str) -> None:
    container = oci.create(bundle.namespace(kind), "sleep 60")
    assert namespace_of(oci.pid(container), kind) != namespace_of("self", kind)


@pytest.mark.parametrize("kind", FILES)
def test_by_path(holder: int, oci: Oci, bundle: Bundle, kind: str) -> None:
    if kind == "uts":
        del bundle.config["hostname"]
    bundle.namespace(kind, f"/proc/{holder}/ns/{FILES[kind]}")
    container = oci.create(bundle, "sleep 60")
    assert namespace_of(oci.pid(container), kind) == namespace_of(holder, kind)
    oci("start", container)
    seen = oci("exec", container, "readlink", f"/proc/self/ns/{FILES[kind]}").stdout.strip()
    assert seen == namespace_of(holder, kind)


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup"])
def test_shared_with_the_creator(oci: Oci, bundle: Bundle, kind: str) -> None:
    bundle.config.pop("hostname")
    container = oci.create(bundle.without_namespace(kind), "sleep 60")
    assert namespace_of(oci.pid(container), kind) == namespace_of("self", kind)


def test_proc_shows_the_joined_pid_namespace(holder: int, oci: Oci, bundle: Bundle) -> None:
    bundle.namespace("pid", f"/proc/{holder}/ns/pid")
    assert oci.output(bundle, "cat /proc/1/comm") == "sleep\n"


def test_sys_shows_the_joined_network(oci: Oci, bundle: Bundle) -> None:
    subprocess.run(["ip", "netns", "add", "joined"], check=True)
    try:
        subprocess.run(["ip", "-n", "joined", "link", "add", "veth7", "type", "veth", "peer", "veth8"], check=True)
        bundle.namespace("network", "/run/netns/joined")
        assert set(oci.output(bundle, "ls /sys/class/net").split()) == {"lo", "veth7", "veth8"}
    finally:
        subprocess.run(["ip", "netns", "del", "joined"], check=True)


def test_offsets_of_clocks(oci: Oci, bundle: Bundle) -> None:
    bundle.namespace("time").linux["timeOffsets"] = {
        "boottime": {"secs": 1_000_000},
        "monotonic": {"secs": -3, "nanosecs": 500_000_000},
    }
    container = oci.create(bundle, "sleep 60")
    offsets = Path(f"/proc/{oci.pid(container)}/timens_offsets").read_text().split()
    assert offsets == ["monotonic", "-3", "500000000", "boottime", "1000000", "0"]
    oci("start", container)
    uptime = float(oci("exec", container, "cat", "/proc/uptime").stdout.split()[0])
    assert uptime > 1_000_000


def test_offsets_in_a_user_namespace(oci: Oci, bundle: Bundle) -> None:
    bundle.map_users().namespace("time").linux["timeOffsets"] = {"boottime": {"secs": 1_000_000}}
    assert float(oci.output(bundle, "cat /proc/uptime").split()[0]) > 1_000_000
    assert oci.output(bundle, "id -u") == "0\n"


def test_the_intermediate_process_leaves_no_zombie(oci: Oci, bundle: Bundle) -> None:
    before = zombies()  # of other tests of this worker
    container = oci.create(bundle.namespace("time"), "sleep 60")
    parent = Path(f"/proc/{oci.pid(container)}/status").read_text()
    assert f"PPid:\t{os.getpid()}\n" in parent
    assert zombies() <= before


def zombies() -> set[str]:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {pid for pid in children if Path(f"/proc/{pid}/stat").read_text().split(") ")[1].startswith("Z")}


def test_offsets_need_a_fresh_time_namespace(holder: int, oci: Oci, bundle: Bundle) -> None:
    bundle.linux["timeOffsets"] = {"boottime": {"secs": 1}}
    assert "linux.timeOffsets needs a time namespace" in oci.refusal(bundle)
    assert "linux.timeOffsets" in oci.refusal(bundle.namespace("time", f"/proc/{holder}/ns/time"))


@pytest.mark.parametrize("kind", FILES)
def test_twice_is_refused(oci: Oci, bundle: Bundle, kind: str) -> None:
    bundle.namespace(kind).linux["namespaces"].append({"type": kind})
    assert f"linux.namespaces has {kind} twice" in oci.refusal(bundle)


@pytest.mark.parametrize("kind", ["pid", "network"])
def test_a_path_of_another_type_is_refused(holder: int, oci: Oci, bundle: Bundle, kind: str) -> None:
    path = f"/proc/{holder}/ns/uts"
    assert path in oci.refusal(bundle.namespace(kind, path))


def test_a_path_that_is_not_there(oci: Oci, bundle: Bundle) -> None:
    assert "/run/no-such-namespace" in oci.refusal(bundle.namespace("network", "/run/no-such-namespace"))


def mounts_below(directory: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [path for path in (line.split()[4] for line in lines) if path.startswith(str(directory))]


def test_without_a_mount_namespace_its_mounts_are_the_hosts_until_it_is_deleted(oci: Oci, bundle: Bundle) -> None:
    bundle.without_namespace("mount").config["root"]["readonly"] = True
    script = "readlink /proc/self/ns/mnt; ls -d /bundle /proc/1 /dev/null; touch /x; cat /proc/kcore | wc -c"
    done = oci.run(bundle, script)
    own = os.readlink("/proc/self/ns/mnt")
    assert done.stdout.splitlines() == [own, "/dev/null", "/proc/1", "0"], "its root is its own"
    assert "Read-only file system" in done.stderr
    assert mounts_below(bundle.path) == []

    container = oci.create(bundle, "sleep 600")
    oci("start", container)
    assert str(bundle.rootfs / "proc") in mounts_below(bundle.path)
    assert oci("exec", container, "ls", "-d", "/proc/1", "/bundle", check=False).stdout == "/proc/1\n"
    assert oci("exec", "--tty", container, "pwd").stdout.strip() == "/"
    oci("delete", "--force", container)
    assert mounts_below(bundle.path) == []


def test_without_a_mount_namespace_and_with_a_link_to_the_root(oci: Oci, bundle: Bundle) -> None:
    (bundle.path / "link").symlink_to("rootfs")
    bundle.without_namespace("mount").config["root"]["path"] = "link"
    assert oci.output(bundle, "echo ran") == "ran\n"
    assert mounts_below(bundle.path) == []


def test_without_a_mount_namespace_a_failure_leaves_no_mount(oci: Oci, bundle: Bundle) -> None:
    bundle.without_namespace("mount").mount("/there", "/no/such/source")
    assert "/no/such/source" in oci.refusal(bundle)
    assert mounts_below(bundle.path) == []


@pytest.mark.parametrize("field", ["hostname", "domainname"])
def test_names_need_a_uts_namespace(oci: Oci, bundle: Bundle, field: str) -> None:
    bundle.config.pop("hostname")
    bundle.without_namespace("uts").config[field] = "name"
    before = os.uname()
    assert f"{field} needs a UTS namespace" in oci.refusal(bundle)
    assert os.uname() == before


def test_names(oci: Oci, bundle: Bundle) -> None:
    bundle.config |= {"hostname": "guest", "domainname": "example"}
    assert oci.output(bundle, "hostname; cat /proc/sys/kernel/domainname").split() == ["guest", "example"]


def test_parameters_of_the_kernel(oci: Oci, bundle: Bundle) -> None:
    bundle.linux["sysctl"] = {
        "net.ipv4.ip_forward": "1",
        "net/ipv4/conf/lo/forwarding": "0",
        "kernel.msgmax": "9000",
        "fs.mqueue.msg_max": "11",
        "kernel.domainname": "example",
    }
    script = "cd /proc/sys/net/ipv4; cat ip_forward conf/lo/forwarding; cd ../..; cat kernel/msgmax fs/mqueue/msg_max"
    assert oci.output(bundle, f"{script} kernel/domainname").split() == ["1", "0", "9000", "11", "example"]
    del bundle.linux["sysctl"]["kernel.domainname"]  # the kernel leaves that one to the host's root
    assert oci.output(bundle.map_users(), script).split() == ["1", "0", "9000", "11"]


@pytest.mark.parametrize(
    ("name", "shared", "text"),
    [
        ("net.ipv4.ip_forward", "network", "needs a namespace of type network"),
        ("kernel.shmmax", "ipc", "needs a namespace of type ipc"),
        ("fs.mqueue.msg_max", "ipc", "needs a namespace of type ipc"),
        ("kernel.hostname", "", "is set by the field hostname"),
        ("kernel.core_pattern", "", "is not in a separate kernel namespace"),
        ("kernel/core_pattern", "", "is not in a separate kernel namespace"),
        ("net/../kernel/core_pattern", "", "is not the name of a kernel parameter"),
        ("net.//.kernel.core_pattern", "", "is not the name of a kernel parameter"),
        ("net...kernel.core_pattern", "", "is not the name of a kernel parameter"),
    ],
)
def test_parameters_of_the_host_are_refused(oci: Oci, bundle: Bundle, name: str, shared: str, text: str) -> None:
    # If one of them got through, it would do no harm: it is set to the value that it has.
    value = Path("/proc/sys/kernel/core_pattern").read_text().strip() if "core_pattern" in name else "1"
    bundle.without_namespace(shared).linux["sysctl"] = {name: value}
    assert text in oci.refusal(bundle)
