"""Everything that config.json's `process` says about the command: runtime-spec config.md, "Process"."""

from __future__ import annotations

import array
import fcntl
import json
import os
import socket
import struct
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.eventually import eventually

if TYPE_CHECKING:
    from support.oci_bundles import Bundle, Oci


def status_of(oci: Oci, bundle: Bundle) -> dict[str, str]:
    """Return the fields of the command's /proc/self/status."""
    lines = oci.output(bundle, "cat /proc/self/status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_user_groups_and_umask(oci: Oci, bundle: Bundle) -> None:
    bundle.process["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [5, 7], "umask": 0o27, "username": "ignored"}
    status = status_of(oci, bundle)
    assert status["Uid"].split() == ["1000"] * 4
    assert status["Gid"].split() == ["1001"] * 4
    assert status["Groups"].split() == ["5", "7"]
    assert status["Umask"] == "0027"


def test_each_set_of_capabilities(oci: Oci, bundle: Bundle) -> None:
    chown, kill, raw = 1 << 0, 1 << 5, 1 << 13
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    bundle.process["noNewPrivileges"] = False
    bundle.process["capabilities"] = {
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
        "permitted": ["CAP_CHOWN", "CAP_KILL"],
        "inheritable": ["CAP_KILL"],
        "effective": ["CAP_CHOWN"],
        "ambient": ["CAP_KILL"],
    }
    status = status_of(oci, bundle)
    found = {name: int(status[f"Cap{name}"], 16) for name in ("Bnd", "Prm", "Inh", "Eff", "Amb")}
    # What an exec by a user leaves: permitted and effective come from the ambient set (capabilities(7)).
    assert found == {"Bnd": chown | kill | raw, "Prm": kill, "Inh": kill, "Eff": kill, "Amb": kill}


def test_an_unknown_capability_is_warned_of_and_ignored(oci: Oci, bundle: Bundle) -> None:
    bundle.process["capabilities"]["bounding"].append("CAP_TO_FLY")
    done = oci.run(bundle, "true")
    assert "CAP_TO_FLY" in done.stderr


def test_a_capability_that_the_host_lacks_is_left_out_and_told(oci: Oci, bundle: Bundle) -> None:
    own = int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "CapPrm" in line)[8:], 16)
    resource = 24
    for name in ("bounding", "effective", "permitted"):
        bundle.process["capabilities"][name].append("CAP_SYS_RESOURCE")
    if own >> resource & 1:
        assert int(status_of(oci, bundle)["CapEff"], 16) >> resource & 1
    else:
        done = oci.run(bundle, "cat /proc/self/status")
        assert "CAP_SYS_RESOURCE" in done.stderr
        sets = dict(line.split(":\t") for line in done.stdout.splitlines() if line.startswith("Cap"))
        assert not int(sets["CapBnd"], 16) >> resource & 1


@pytest.mark.parametrize("wanted", [True, False])
def test_no_new_privileges(oci: Oci, bundle: Bundle, wanted: bool) -> None:
    bundle.process["noNewPrivileges"] = wanted
    assert status_of(oci, bundle)["NoNewPrivs"] == str(int(wanted))


def test_an_ambient_capability_that_cannot_be_raised_is_told(oci: Oci, bundle: Bundle) -> None:
    sets = bundle.capabilities("CAP_KILL", "CAP_CHOWN").config["process"]["capabilities"]
    sets |= {"inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL", "CAP_CHOWN"]}
    done = oci.run(bundle, "grep CapAmb /proc/self/status")
    assert "can't raise ambient capability CAP_CHOWN: " in done.stderr
    assert "CAP_KILL" not in done.stderr
    assert done.stdout == "CapAmb:\t0000000000000020\n"


def test_a_container_that_waits_can_be_ended(oci: Oci, bundle: Bundle) -> None:
    container = oci.create(bundle, "sleep 100")
    oci("kill", container, "TERM")
    eventually(lambda: oci.state(container)["status"] == "stopped")


def test_a_container_that_waits_holds_only_what_it_needs(oci: Oci, bundle: Bundle) -> None:
    with open("/etc/passwd", encoding="utf-8") as left_open:
        os.set_inheritable(left_open.fileno(), True)
        oci.save(bundle, "true")
        streams = {"stdout": subprocess.DEVNULL, "stderr": None, "capture_output": False, "close_fds": False}
        oci("create", "--bundle", bundle.path, "waits", **streams)
    directory = f"/proc/{oci.pid('waits')}/fd"
    held = {os.path.basename(os.readlink(f"{directory}/{fd}")) for fd in os.listdir(directory) if int(fd) > 2}
    assert held == {"exec.fifo"}


# -- classes of service (resctrl): see also tests/unit/test_rdt.py -----------------------------------------------------


def test_a_class_of_service_is_refused_where_resctrl_is_not_mounted(oci: Oci, bundle: Bundle) -> None:
    assert " - resctrl " not in Path("/proc/self/mountinfo").read_text(), "this test is for a host without it"
    bundle.linux["intelRdt"] = {"l3CacheSchema": "L3:0=f"}
    assert "linux.intelRdt: no resctrl file system is mounted" in oci.refusal(bundle)


def test_a_container_without_a_class_of_service_has_no_share_to_update(oci: Oci, bundle: Bundle) -> None:
    name = oci.create(bundle, "sleep 600")
    done = oci("update", "--mem-bw-schema", "MB:0=20", "--l3-cache-schema=L3:0=f", name, check=False)
    assert done.returncode != 0
    assert "the container has no class of service" in done.stderr


def test_personality(oci: Oci, bundle: Bundle) -> None:
    bundle.linux["personality"] = {"domain": "LINUX32"}
    assert oci.output(bundle, "uname -m") == "i686\n"
    bundle.linux["personality"] = {"domain": "LINUX64"}
    assert "linux.personality" in oci.refusal(bundle)


@pytest.mark.parametrize(("field", "module"), [("apparmorProfile", "AppArmor"), ("selinuxLabel", "SELinux")])
def test_a_label_is_refused_where_its_module_is_off(oci: Oci, bundle: Bundle, field: str, module: str) -> None:
    enabled = {
        "AppArmor": Path("/sys/module/apparmor/parameters/enabled"),
        "SELinux": Path("/sys/fs/selinux/enforce"),
    }[module]
    assert not enabled.exists() or enabled.read_text().startswith("N"), "this test is for a host without it"
    bundle.process[field] = "unconfined"
    assert f"process.{field}" in oci.refusal(bundle)


def test_environment(oci: Oci, bundle: Bundle) -> None:
    bundle.process["env"] = ["PATH=/bin", "A=1", "A=2", "EMPTY=", "WITH=a=b"]
    lines = oci.output(bundle, "env | sort").splitlines()
    assert [line for line in lines if line[:2] in ("A=", "EM", "WI")] == ["A=2", "EMPTY=", "WITH=a=b"]
    for wrong in ("NOTHING", "=x"):
        bundle.process["env"] = ["PATH=/bin", wrong]
        assert "process.env[1]" in oci.refusal(bundle)


@pytest.mark.parametrize(("uid", "home"), [(0, "/root"), (4242, "/")])
def test_home_comes_from_the_containers_passwd(oci: Oci, bundle: Bundle, uid: int, home: str) -> None:
    (bundle.rootfs / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    bundle.process["user"] = {"uid": uid, "gid": 0}
    assert oci.output(bundle, "echo $HOME") == f"{home}\n"


def test_a_home_that_is_set_stays(oci: Oci, bundle: Bundle) -> None:
    bundle.process["env"].append("HOME=/elsewhere")
    assert oci.output(bundle, "echo $HOME") == "/elsewhere\n"


def test_a_missing_working_directory_is_made(oci: Oci, bundle: Bundle) -> None:
    bundle.process["cwd"] = "/not/there/yet"
    assert oci.output(bundle, "pwd") == "/not/there/yet\n"
    assert (bundle.rootfs / "not/there/yet").is_dir()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["no-such-program"], "executable file not found in $PATH"),
        (["/no/such/program"], "no such file or directory"),
        (["/etc/passwd"], "permission denied"),
        ([""], "executable file not found in $PATH"),
        ([], "process.args"),
    ],
)
def test_commands_that_cannot_run(oci: Oci, bundle: Bundle, args: list[str], words: str) -> None:
    (bundle.rootfs / "etc/passwd").touch(0o644)
    bundle.process["args"] = args
    assert words in oci.refusal(bundle, "")


def test_a_broken_interpreter_is_told_by_the_command_itself(oci: Oci, bundle: Bundle) -> None:
    (bundle.rootfs / "run.sh").write_text("#!/no/such/shell\n")
    (bundle.rootfs / "run.sh").chmod(0o755)
    bundle.process["args"] = ["/run.sh"]
    done = oci.run(bundle, check=False)
    assert done.returncode == 127
    assert "exec /run.sh: no such file or directory" in done.stderr


# -- the seccomp listener ---------------------------------------------------------------------------------------------


def test_the_seccomp_listener_goes_to_the_agent(oci: Oci, bundle: Bundle) -> None:
    path = bundle.path / "agent"
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "listenerPath": str(path),
        "listenerMetadata": "of this test",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
    }
    bundle.config["annotations"] = {"key": "value"}
    received: list[Any] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
        agent.bind(str(path))
        agent.listen()
        agent.settimeout(20)

        def answer() -> None:
            with agent.accept()[0] as connection:
                data, rights, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(4))
            listener = array.array("i", rights[0][2])[0]
            received.append(json.loads(data))
            received.append(os.readlink(f"/proc/self/fd/{listener}"))
            answer_with_error(listener, 38)
            os.close(listener)

        thread = threading.Thread(target=answer)
        thread.start()
        done = oci.run(bundle, "mkdir /made; echo ended", check=False)
        thread.join()
    state, kind = received
    assert kind == "anon_inode:seccomp notify"
    assert state["fds"] == ["seccompFd"]
    assert state["metadata"] == "of this test"
    assert state["state"]["annotations"] == {"key": "value"}
    assert state["pid"] == state["state"]["pid"] > 1
    assert "Function not implemented" in done.stderr
    assert done.stdout == "ended\n"


def answer_with_error(listener: int, number: int) -> None:
    """Take one question from a seccomp listener and answer it with an errno (seccomp_unotify(2))."""
    question = bytearray(80)  # struct seccomp_notif
    fcntl.ioctl(listener, 0xC0502100, question)
    fcntl.ioctl(listener, 0xC0182101, struct.pack("=QqiI", struct.unpack_from("=Q", question)[0], 0, -number, 0))


def test_without_an_agent_there_is_no_container(oci: Oci, bundle: Bundle) -> None:
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(bundle.path / "nobody"),
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
    }
    assert "seccomp listener" in oci.refusal(bundle)


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_a_closed_standard_stream_is_dev_null(oci: Oci, bundle: Bundle, closed: str) -> None:
    bundle.config["root"]["readonly"] = False
    (bundle.rootfs / "root").mkdir(exist_ok=True)
    oci.save(bundle, 'seen=$(for n in 0 1 2; do readlink /proc/1/fd/$n; done); echo "$seen" > /root/streams')
    words = [*oci.command, "run", "--bundle", str(bundle.path), oci.new_id()]
    subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *words], check=True, timeout=30, stdin=subprocess.DEVNULL)
    streams = (bundle.rootfs / "root/streams").read_text().splitlines()
    for number in (0, 1, 2):
        if f"{number}<" in closed or f"{number}>" in closed:
            assert streams[number] == "/dev/null"


def test_a_filter_that_refuses_even_the_exit(oci: Oci, bundle: Bundle) -> None:
    """Nothing can be executed, and the process that was to execute it ends instead of looping."""
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ERRNO"}
    assert oci.run(bundle, "true", check=False).returncode != 0
    assert oci.containers() == []
