"""User namespaces: who the container's users are on the host, and that its root can do what a root must."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.oci_bundles import MountPoint
from support.rootless import copy_of_runtime

if TYPE_CHECKING:
    from support.oci_bundles import Bundle, Oci

HOST_ROOT = 100_000


def test_root_of_the_container_is_nobody_special_outside(oci: Oci, bundle: Bundle) -> None:
    container = oci.create(bundle.map_users(), "sleep 60")
    status = Path(f"/proc/{oci.pid(container)}/status").read_text()
    assert f"Uid:\t{HOST_ROOT}\t{HOST_ROOT}" in status
    assert f"Gid:\t{HOST_ROOT}\t{HOST_ROOT}" in status
    assert "Groups:\t \n" in status
    for name in ("uid_map", "gid_map"):
        assert Path(f"/proc/{oci.pid(container)}/{name}").read_text().split() == ["0", str(HOST_ROOT), "65536"]


def test_every_fresh_namespace_belongs_to_it(oci: Oci, bundle: Bundle) -> None:
    script = "hostname other && ip link set lo down && mount -t tmpfs none /tmp && id -u"
    bundle.capabilities("CAP_SYS_ADMIN", "CAP_NET_ADMIN")
    assert oci.output(bundle.map_users(), script) == "0\n"


def test_what_it_makes_belongs_to_its_root(oci: Oci, bundle: Bundle) -> None:
    bundle.map_users().mount("/made/by/minirun", type="tmpfs", options=[])
    bundle.config["process"]["cwd"] = "/also/made"
    oci.run(bundle, "touch /file")
    for path in ("made", "made/by", "also/made", "file"):
        assert os.stat(bundle.rootfs / path).st_uid == HOST_ROOT


def test_several_ranges(oci: Oci, bundle: Bundle) -> None:
    bundle.map_users()
    ranges = [(0, HOST_ROOT, 10), (10, 5000, 5)]
    for field in ("uidMappings", "gidMappings"):
        bundle.linux[field] = [{"containerID": c, "hostID": h, "size": s} for c, h, s in ranges]
    bundle.config["process"]["user"] = {"uid": 12, "gid": 13, "additionalGids": [11]}
    container = oci.create(bundle, "sleep 60")
    status = Path(f"/proc/{oci.pid(container)}/status").read_text()
    assert "Uid:\t5002\t" in status
    assert "Gid:\t5003\t" in status
    assert "Groups:\t5001 \n" in status


def test_default_devices_are_the_hosts(oci: Oci, bundle: Bundle) -> None:
    script = "echo lost > /dev/null && head -c 4 /dev/zero | wc -c && ls -l /dev/null /dev/full | cut -c1"
    assert oci.output(bundle.map_users(), script).split() == ["4", "c", "c"]


def test_a_source_that_its_root_may_not_reach(oci: Oci, bundle: Bundle, scratch: Path) -> None:
    hidden = scratch / "hidden"
    (hidden / "shown").mkdir(parents=True)
    (hidden / "shown/file").write_text("content\n")
    hidden.chmod(0o700)
    os.chown(hidden, 4321, 4321)
    bundle.map_users().mount("/shown", hidden / "shown").mount("/file", hidden / "shown/file", ["bind", "ro"])
    assert oci.output(bundle, "cat /shown/file /file") == "content\ncontent\n"
    assert "Read-only" in oci.run(bundle, "touch /file", check=False).stderr


def test_a_root_file_system_that_its_root_may_not_reach(oci: Oci, bundle: Bundle) -> None:
    bundle.map_users()
    os.chown(bundle.path, 4321, 4321)
    bundle.path.chmod(0o700)
    assert oci.output(bundle, "id -u && ls -d /bin") == "0\n/bin\n"


def test_flags_of_the_hosts_mounts_stay_locked(oci: Oci, bundle: Bundle, scratch: Path) -> None:
    hidden = scratch / "hidden"
    (hidden / "data").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,nosuid", "data", hidden / "data"], check=True)
    try:
        bundle.capabilities("CAP_SYS_ADMIN")
        bundle.map_users().mount("/data", hidden / "data")
        for mode in (0o755, 0o700):  # opened by the child, and by the parent
            os.chown(hidden, 4321, 4321)
            hidden.chmod(mode)
            done = oci.run(bundle, "mount -o remount,bind,rw /data", check=False)
            assert "permission denied" in done.stderr.lower() or "not permitted" in done.stderr.lower()
        bundle.config["mounts"][-1]["options"] = ["bind", "rw"]
        assert f"mounts[{len(bundle.config['mounts']) - 1}]" in oci.refusal(bundle)
    finally:
        subprocess.run(["umount", hidden / "data"], check=True)


def test_exec_is_the_same_user(oci: Oci, bundle: Bundle) -> None:
    container = oci.create(bundle.map_users(), "sleep 60")
    oci("start", container)
    assert oci("exec", container, "sh", "-c", "id -u; touch /by-exec").stdout == "0\n"
    assert os.stat(bundle.rootfs / "by-exec").st_uid == HOST_ROOT
    assert oci("exec", "--user", "7:8", container, "id", "-u").stdout == "7\n"
    same = oci("exec", container, "readlink", "/proc/self/ns/user").stdout.strip()
    assert same == os.readlink(f"/proc/{oci.pid(container)}/ns/user")


def test_joined_by_path(oci: Oci, bundle: Bundle) -> None:
    first = oci.create(bundle.map_users(), "sleep 60")
    path = f"/proc/{oci.pid(first)}/ns/user"
    bundle.namespace("user", path)
    second = oci.create(bundle, "sleep 60")
    pid = oci.pid(second)
    assert os.readlink(f"/proc/{pid}/ns/user") == os.readlink(path)
    assert f"Uid:\t{HOST_ROOT}\t" in Path(f"/proc/{pid}/status").read_text()
    assert os.readlink(f"/proc/{pid}/ns/pid") != os.readlink(f"/proc/{oci.pid(first)}/ns/pid")
    assert f"PPid:\t{os.getpid()}\n" in Path(f"/proc/{pid}/status").read_text()  # reaped by the test, a subreaper
    oci("start", second)
    assert oci("exec", second, "id", "-u").stdout == "0\n"


def test_a_new_one_with_the_hosts_network(oci: Oci, bundle: Bundle) -> None:
    bundle.map_users().without_namespace("network")
    mounts = oci.mounts(bundle)
    assert mounts["/sys"].fstype == "sysfs"
    assert {"ro", "nosuid"} <= mounts["/sys"].options
    bundle.namespace("network", "/proc/self/ns/net")
    assert "eth0" in oci.output(bundle, "ls /sys/class/net")


def test_a_single_id_of_an_unprivileged_caller(oci: Oci, bundle: Bundle, scratch: Path) -> None:
    runtime = copy_of_runtime(scratch)
    bundle.map_users(1000, 1)
    del bundle.linux["resources"]
    for mount in bundle.config["mounts"]:
        if mount["type"] == "devpts":
            mount["options"].remove("gid=5")  # that group is not mapped
    oci.save(bundle, "id -u; cat /proc/self/setgroups; touch /file")
    for directory in (bundle.path, scratch):
        os.chown(directory, 1000, 1000)
    unprivileged = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", runtime]
    arguments = ["--root", scratch / "state", "--cgroup-manager", "disabled", "run", "rootless"]
    done = subprocess.run(
        [*unprivileged, *arguments], cwd=bundle.path, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.returncode) == ("0\ndeny\n", 0), done.stderr
    assert os.stat(bundle.rootfs / "file").st_uid == 1000


def test_a_user_that_is_not_mapped_is_refused(oci: Oci, bundle: Bundle) -> None:
    bundle.map_users()
    bundle.config["process"]["user"]["uid"] = 70_000
    assert "process.user.uid 70000 is not mapped" in oci.refusal(bundle)


@pytest.mark.parametrize("field", ["uidMappings", "gidMappings"])
def test_mappings_and_the_namespace_need_each_other(oci: Oci, bundle: Bundle, field: str) -> None:
    bundle.map_users()
    mappings = bundle.linux.pop(field)
    bundle.without_namespace("user").linux[field] = mappings
    assert "needs a user namespace" in oci.refusal(bundle)


def test_without_mappings_its_root_is_who_calls(oci: Oci, bundle: Bundle) -> None:
    bundle.namespace("user").without_mount("/dev/pts")  # whose option gid=5 would be nobody's
    done = oci.run(bundle, "id -u; cat /proc/self/uid_map /proc/self/gid_map")
    assert done.stdout.split() == ["0", *["0", "0", "1"] * 2]
    assert "linux.uidMappings is missing" in done.stderr
    assert "linux.gidMappings is missing" in done.stderr
    bundle.config["process"]["user"]["uid"] = 1
    assert "process.user.uid 1 is not mapped" in oci.refusal(bundle)


def test_how_access_times_are_noted_is_the_hosts_affair(oci: Oci, bundle: Bundle, scratch: Path) -> None:
    bundle.map_users().mount("/data", scratch, ["bind", "strictatime", "nosuid"])
    done = oci.run(bundle, "cat /proc/self/mountinfo")
    assert {"relatime", "nosuid"} <= MountPoint.all_of(done.stdout)["/data"].options
    assert "keeps its way of noting access times" in done.stderr


def test_masked_and_readonly_paths_hold(oci: Oci, bundle: Bundle) -> None:
    mounts = oci.mounts(bundle.map_users())
    assert "ro" in mounts["/proc/sys"].options
    assert mounts["/proc/keys"].root == "/null"


def test_dev_has_the_modes_of_any_container(oci: Oci, bundle: Bundle) -> None:
    container = oci.create(bundle.map_users(), "sleep 60")
    dev = Path(f"/proc/{oci.pid(container)}/root/dev")
    assert stat.S_IMODE((dev / "null").stat().st_mode) == 0o666
    assert (dev / "shm").stat().st_uid == HOST_ROOT
