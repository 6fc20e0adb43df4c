"""`exec`: further processes in a container, with every flag of runc and crun."""

from __future__ import annotations

import array
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.eventually import eventually

if TYPE_CHECKING:
    from support.oci_bundles import Bundle, Oci

QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": None, "capture_output": False}


@pytest.fixture
def container(oci: Oci, bundle: Bundle) -> str:
    """Return a running container."""
    name = oci.create(bundle, "sleep 600")
    oci("start", name)
    return name


def test_exit_codes(oci: Oci, container: str) -> None:
    assert oci("exec", container, "sh", "-c", "exit 9", check=False).returncode == 9
    assert oci("exec", container, "sh", "-c", "kill -9 $$", check=False).returncode == 137


def test_it_is_in_the_containers_namespaces_and_cgroup(oci: Oci, container: str) -> None:
    pid = oci.pid(container)
    for name in ("cgroup", "ipc", "mnt", "net", "pid", "uts"):
        inside = oci("exec", container, "readlink", f"/proc/self/ns/{name}").stdout.strip()
        assert inside == os.readlink(f"/proc/{pid}/ns/{name}")
    assert (
        oci("exec", container, "cat", "/proc/self/cgroup").stdout
        == oci("exec", container, "cat", "/proc/1/cgroup").stdout
    )


def test_a_working_directory_that_is_missing_is_told_in_the_kernels_words(oci: Oci, bundle: Bundle) -> None:
    name = oci.create(bundle, "sleep 600")
    oci("start", name)
    done = oci("exec", "--cwd", "/not/there", name, "true", check=False)
    assert done.returncode == 255
    assert "cannot enter the working directory /not/there: chdir: no such file or directory" in done.stderr


@pytest.mark.parametrize(
    ("flags", "script", "output"),
    [
        (["--cwd", "/bin"], "pwd", "/bin"),
        (["--cwd=/made/here"], "pwd", "/made/here"),
        (["--env", "A=1", "-e", "B=2"], "echo $A$B", "12"),
        (["--user", "1000:1001"], "id -u; id -g", "1000\n1001"),
        (
            ["-u", "1000", "-g", "5", "--additional-gids", "6"],
            "id -u; grep Groups /proc/self/status",
            "1000\nGroups:\t5 6 ",
        ),
        (["--no-new-privs"], "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1"),
        (["--cap", "CAP_CHOWN"], "grep CapBnd /proc/self/status", "CapBnd:\t0000000020000421"),
    ],
)
def test_flags(oci: Oci, bundle: Bundle, flags: list[str], script: str, output: str) -> None:
    (bundle.rootfs / "made/here").mkdir(parents=True)
    name = oci.create(bundle, "sleep 600")
    oci("start", name)
    assert oci("exec", *flags, name, "sh", "-c", script).stdout == f"{output}\n"


def test_what_follows_the_id_is_the_commands_own(oci: Oci, container: str) -> None:
    assert oci("exec", container, "echo", "--cwd", "-t", "--").stdout == "--cwd -t --\n"


def test_a_process_from_a_file(oci: Oci, bundle: Bundle, container: str) -> None:
    file = bundle.path / "process.json"
    process = {"args": ["sh", "-c", "id -u; pwd; echo $X"], "cwd": "/bin", "env": ["PATH=/bin", "X=y"]}
    file.write_text(json.dumps(process | {"user": {"uid": 7, "gid": 7}}))
    assert oci("exec", "--process", file, container).stdout == "7\n/bin\ny\n"
    file.write_text(json.dumps(process | {"cwd": "relative"}))
    done = oci("exec", "-p", file, container, check=False)
    assert done.returncode == 255
    assert "process.cwd" in done.stderr
    done = oci("exec", "--process", bundle.path / "nowhere", container, check=False)
    assert done.returncode == 255
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["no-such-program"], "executable file not found in $PATH"),
        (["/no/such/program"], "no such file or directory"),
        (["/etc"], "permission denied"),
        ([], "command"),
    ],
)
def test_commands_that_cannot_run(oci: Oci, bundle: Bundle, container: str, command: list[str], words: str) -> None:
    (bundle.rootfs / "etc").mkdir(exist_ok=True)
    done = oci("exec", container, *command, check=False)
    assert done.returncode == 255
    assert words in done.stderr or (words == "permission denied" and "is a directory" in done.stderr)


def test_detached_with_a_pid_file(oci: Oci, bundle: Bundle, container: str) -> None:
    pid_file = bundle.path / "pid"
    oci("exec", "--detach", "--pid-file", pid_file, container, "sleep", "77", **QUIET)
    pid = int(pid_file.read_text())
    try:
        # `exec` returns when the process is ready to execute its command.
        eventually(lambda: Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x0077\x00")
        assert pid in json.loads(oci("ps", "--format=json", container).stdout)
    finally:
        end(pid)  # or its PID namespace, and with it the container, could never end


def end(pid: int) -> None:
    """Kill a detached process and reap it: this test process is what a shim or an init is elsewhere."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_detached_process_becomes_the_child_of_the_callers_reaper(oci: Oci, bundle: Bundle, container: str) -> None:
    """If it could not be reaped, the PID namespace, and with it the container, could never end."""
    pid_file = bundle.path / "pid"
    oci("exec", "--detach", "--pid-file", pid_file, container, "sh", "-c", "exit 3", **QUIET)
    assert os.waitstatus_to_exitcode(os.waitpid(int(pid_file.read_text()), 0)[1]) == 3


def test_in_a_created_and_in_a_paused_container(oci: Oci, bundle: Bundle) -> None:
    name = oci.create(bundle, "sleep 600")
    assert oci("exec", name, "echo", "created").stdout == "created\n"
    oci("start", name)
    oci("pause", name)
    assert "paused" in oci("exec", name, "true", check=False).stderr
    command = [oci.executable, "--root", oci.root, "exec", "--ignore-paused", name, "echo", "thawed"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiting:
        time.sleep(0.3)
        assert waiting.poll() is None  # it is in the frozen cgroup
        oci("resume", name)
        assert waiting.communicate(timeout=20)[0] == "thawed\n"


def test_a_cgroup_below(oci: Oci, container: str) -> None:
    done = oci("exec", "--cgroup", "/../..", container, "true", check=False)
    assert done.returncode == 255
    assert "cgroup" in done.stderr
    assert oci("exec", "--cgroup", "/", container, "echo", "in").stdout == "in\n"


def test_preserved_descriptors(oci: Oci, bundle: Bundle, container: str) -> None:
    (bundle.path / "file").write_text("content\n")

    def with_fd_3(*flags: str, script: str = "cat <&3") -> subprocess.CompletedProcess[str]:
        line = [
            "sh",
            "-c",
            f'exec "$@" 3< {bundle.path}/file',
            "sh",
            str(oci.executable),
            "--root",
            str(oci.root),
            "exec",
        ]
        command = [*line, *flags, container, "sh", "-c", script]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

    assert with_fd_3("--preserve-fds", "1").stdout == "content\n"
    # Numbers that the caller does not use stay unused, although minirun's own descriptors have them for a while.
    more = with_fd_3("--preserve-fds", "20", script="ls /proc/$$/fd; true")
    assert more.stdout.split() == ["0", "1", "2", "3"], more.stderr
    assert with_fd_3().stdout == ""


def test_a_terminal_that_is_copied_leaves_newlines_alone(oci: Oci, container: str) -> None:
    assert oci("exec", "--tty", container, "echo", "line", stdin=subprocess.PIPE).stdout == "line\n"


def test_a_capability_becomes_ambient_where_inheritable_ones_are(oci: Oci, bundle: Bundle) -> None:
    sets = bundle.capabilities("CAP_KILL").config["process"]["capabilities"]
    sets |= {"bounding": ["CAP_KILL", "CAP_SYSLOG"], "inheritable": ["CAP_KILL", "CAP_SYSLOG"]}
    oci.launch(bundle.command("exec sleep 100"), "inherits")
    seen = oci("exec", "--cap", "CAP_SYSLOG", "inherits", "grep", "CapAmb", "/proc/self/status").stdout
    assert seen == "CapAmb:\t0000000400000000\n"


def test_a_pidfd_for_a_socket(oci: Oci, bundle: Bundle, container: str) -> None:
    path = bundle.path / "pidfd"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        oci("exec", "--detach", "--pidfd-socket", path, "--pid-file", bundle.path / "pid", container, "sleep", "100",
            stdout=subprocess.DEVNULL, stderr=None, capture_output=False)  # fmt: skip
        with listener.accept()[0] as connection:
            _, (pidfd,), _, _ = socket.recv_fds(connection, 4096, 1)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    assert select.select([pidfd], [], [], 10)[0], "it has ended"
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    os.close(pidfd)


def test_a_terminal_for_the_console_socket(oci: Oci, bundle: Bundle, container: str) -> None:
    path = bundle.path / "console"
    masters: list[int] = []
    pid_file = bundle.path / "pid"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(20)

        def take() -> None:
            with listener.accept()[0] as connection:
                _, rights, _, _ = connection.recvmsg(64, socket.CMSG_SPACE(4))
            masters.append(array.array("i", rights[0][2])[0])

        thread = threading.Thread(target=take)
        thread.start()
        flags = ["--tty", "--detach", "--console-socket", path, "--pid-file", pid_file]
        oci("exec", *flags, container, "sh", "-c", "tty; sleep 60", **QUIET)
        thread.join()
    assert os.read(masters[0], 100).startswith(b"/dev/pts/")
    os.close(masters[0])
    end(int(pid_file.read_text()))


def test_a_terminal_needs_somebody_to_take_it(oci: Oci, container: str) -> None:
    done = oci("exec", "--tty", "--detach", container, "true", check=False)
    assert done.returncode == 255
    assert "console socket" in done.stderr


def test_the_containers_filter_holds_for_it(oci: Oci, bundle: Bundle) -> None:
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}],
    }
    name = oci.create(bundle, "sleep 600")
    oci("start", name)
    assert "Function not implemented" in oci("exec", name, "mkdir", "/x", check=False).stderr
