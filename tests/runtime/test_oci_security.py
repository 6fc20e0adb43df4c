"""Attacks on the runtime by images, bundles and processes of a container, and that they fail."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from support.oci_bundles import Bundle, Oci

# -- CVE-2024-21626: descriptors of the host's directories, and working directories by them ----------------------------


@pytest.mark.parametrize("fd", range(3, 16))
def test_no_working_directory_outside(oci: Oci, bundle: Bundle, fd: int) -> None:
    """The attack: a working directory named by a descriptor that the runtime has open on the host."""
    bundle.config["process"]["cwd"] = f"/proc/self/fd/{fd}"
    oci.save(bundle, "cat ../../../../../../../etc/hostname; ls -d ../../../../../../../proc/1/exe; stat -c %d:%i .")
    leak = os.open("/", os.O_RDONLY)  # a caller may leak a directory of the host, too, as a careless shim would
    try:
        done = oci("run", "--bundle", bundle.path, "escape", check=False, pass_fds=(leak,))
    finally:
        os.close(leak)
    inside = os.stat(bundle.rootfs)
    assert done.returncode != 0 or f"{inside.st_ino}" in done.stdout, done.stdout
    assert Path("/etc/hostname").read_text() not in done.stdout


@pytest.mark.parametrize("fd", range(3, 16))
def test_no_working_directory_outside_for_exec(oci: Oci, bundle: Bundle, fd: int) -> None:
    container = oci.create(bundle, "sleep 60")
    oci("start", container)
    host = os.open("/", os.O_RDONLY)
    try:
        script = "cat ../../../../../../../etc/hostname"
        for flags in ([], ["--preserve-fds", "0"]):
            done = oci(
                "exec", *flags, "--cwd", f"/proc/self/fd/{fd}", container, "sh", "-c", script,
                check=False, pass_fds=(host,),
            )  # fmt: skip
            assert Path("/etc/hostname").read_text() not in done.stdout
    finally:
        os.close(host)


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_no_descriptor_but_the_standard_streams_gets_in(oci: Oci, bundle: Bundle, verb: str) -> None:
    script = "ls /proc/self/fd | tr '\\n' ' '"
    leaks = [os.open("/", os.O_RDONLY) for _ in range(3)]
    try:
        options: dict[str, Any] = {"pass_fds": tuple(leaks)}
        if verb == "run":
            oci.save(bundle, script)
            output = oci("run", "--bundle", bundle.path, "leaky", **options).stdout
        else:
            container = oci.create(bundle, "sleep 60")
            oci("start", container)
            output = oci("exec", container, "sh", "-c", script, **options).stdout
    finally:
        for fd in leaks:
            os.close(fd)
    # 3 is the directory that ls itself reads.
    assert output.split() == ["0", "1", "2", "3"]


def test_nothing_of_the_host_is_open_in_a_created_container(oci: Oci, bundle: Bundle) -> None:
    container = oci.create(bundle, "sleep 60")
    directory = f"/proc/{oci.pid(container)}/fd"
    opened = {int(fd): os.readlink(f"{directory}/{fd}") for fd in os.listdir(directory)}
    directories = [path for fd, path in opened.items() if fd > 2 and os.path.isdir(f"{directory}/{fd}")]
    assert directories == []


# -- CVE-2019-5736: the runtime's own program through /proc/PID/exe ----------------------------------------------------


def test_the_host_never_shows_as_the_first_process(oci: Oci, bundle: Bundle) -> None:
    container = oci.create(bundle, "sleep 60")
    assert os.readlink(f"/proc/{oci.pid(container)}/exe") == "/memfd:exec_stub (deleted)"
    maps = Path(f"/proc/{oci.pid(container)}/maps").read_text()
    assert "python" not in maps
    assert "minirun" not in maps.replace("minirun-exec-stub", "")


def test_a_command_that_is_the_runtime_itself(oci: Oci, bundle: Bundle) -> None:
    """The attack: have /proc/self/exe executed, which would be the runtime, and write to it from inside."""
    (bundle.rootfs / "evil").symlink_to("/proc/self/exe")
    before = oci.executable.read_bytes(), Path(os.path.realpath(sys.executable)).read_bytes()
    bundle.config["process"]["args"] = ["/evil"]
    oci.run(bundle, check=False)
    container = oci.create(bundle, "sleep 60")
    oci("start", container)
    done = oci("exec", container, "/evil", check=False)
    assert done.returncode != 0
    script = "for pid in $(ls /proc | grep '^[0-9]'); do echo x > /proc/$pid/exe; done 2>/dev/null; true"
    oci("exec", container, "sh", "-c", script)
    assert (oci.executable.read_bytes(), Path(os.path.realpath(sys.executable)).read_bytes()) == before


def test_what_an_exec_shows_while_it_is_set_up(oci: Oci, bundle: Bundle) -> None:
    """The attack: watch for processes that enter, and open what they run."""
    script = r"""
        while [ ! -e /stop ]; do
            for pid in /proc/[0-9]*; do
                exe=$(readlink $pid/exe) && case $exe in /bin/busybox) ;; *) echo "$exe";; esac
            done 2> /dev/null
        done > /seen
    """
    container = oci.create(bundle, script)
    oci("start", container)
    for _ in range(5):
        oci("exec", container, "true")
    (bundle.rootfs / "stop").touch()
    deadline = time.monotonic() + 20
    while '"stopped"' not in oci("state", container).stdout and time.monotonic() < deadline:
        time.sleep(0.05)
    seen = set((bundle.rootfs / "seen").read_text().splitlines())
    # Python itself may be seen by name, but by then nobody in the container may open it (next test).
    assert all("exec_stub" in path or "python" in path for path in seen), seen


# -- CVE-2016-9962: processes that enter must not be traced or looked into ---------------------------------------------


def test_a_process_that_enters_cannot_be_looked_into(oci: Oci, bundle: Bundle) -> None:
    """The attack: root of a container without CAP_SYS_PTRACE follows the descriptors of a process that enters."""
    script = r"""
        while [ ! -e /stop ]; do
            for pid in /proc/[0-9]*; do
                [ "$(cat $pid/comm)" = sh ] && continue
                for fd in $pid/fd/*; do
                    where=$(readlink $fd) || continue
                    case $where in pipe:*|/dev/null|socket:*|/proc/*) ;; *) echo "$where";; esac
                done
            done 2> /dev/null
        done > /seen
    """
    container = oci.create(bundle, script)
    oci("start", container)
    for _ in range(5):
        oci("exec", container, "true")
    (bundle.rootfs / "stop").touch()
    deadline = time.monotonic() + 20
    while '"stopped"' not in oci("state", container).stdout and time.monotonic() < deadline:
        time.sleep(0.05)
    seen = set((bundle.rootfs / "seen").read_text().splitlines())
    assert not {path for path in seen if "cgroup" in path or "rootfs" in path}, seen


def test_a_process_that_waits_is_not_dumpable(oci: Oci, bundle: Bundle) -> None:
    container = oci.create(bundle.map_users(), "sleep 60")
    # The /proc files of a process that is not dumpable belong to the host's root, not to the process's user (proc(5)).
    assert os.stat(f"/proc/{oci.pid(container)}/environ").st_uid == 0
    oci("start", container)
    deadline = time.monotonic() + 10
    while os.stat(f"/proc/{oci.pid(container)}/environ").st_uid == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert os.stat(f"/proc/{oci.pid(container)}/environ").st_uid == 100_000


# -- CVE-2022-29162: capabilities that nobody asked for ----------------------------------------------------------------


def test_exec_adds_no_inheritable_capabilities(oci: Oci, bundle: Bundle) -> None:
    container = oci.create(bundle, "sleep 60")
    oci("start", container)
    for flags in ([], ["--cap", "CAP_NET_RAW"]):
        status = oci("exec", *flags, container, "cat", "/proc/self/status").stdout
        assert "CapInh:\t0000000000000000" in status
        assert "CapAmb:\t0000000000000000" in status


def test_run_adds_no_inheritable_capabilities(oci: Oci, bundle: Bundle) -> None:
    assert "CapInh:\t0000000000000000" in oci.output(bundle, "cat /proc/self/status")


# -- names and files of the image ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fifo", "link to the host", "device"])
def test_a_hostile_passwd_is_not_read(oci: Oci, bundle: Bundle, kind: str) -> None:
    passwd = bundle.rootfs / "etc/passwd"
    passwd.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(passwd)
    elif kind == "device":
        os.mknod(passwd, 0o020666, os.makedev(1, 5))
    else:
        passwd.symlink_to("../../../../../../../etc/passwd")
    assert oci.output(bundle, "echo $HOME") == "/\n"


def test_the_state_directory_is_closed_to_others(oci: Oci, bundle: Bundle) -> None:
    container = oci.create(bundle, "sleep 60")
    assert os.stat(oci.root / container).st_mode & 0o077 == 0
