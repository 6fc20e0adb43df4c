"""The command line as Docker, containerd, Podman, CRI-O and people type it."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.oci_bundles import Bundle, Oci

QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": None, "capture_output": False}


@pytest.fixture
def call(oci: Oci) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that calls minirun-oci without flags of its own."""

    def run(*arguments: object, **more: Any) -> subprocess.CompletedProcess[str]:
        command = [str(oci.executable), *map(str, arguments)]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, **more)

    return run


def test_a_container_as_containerd_makes_it(
    oci: Oci, bundle: Bundle, call: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    oci.save(bundle, "sleep 60")
    log, pid_file = bundle.path / "log.json", bundle.path / "init.pid"
    flags = ["--root", oci.root, "--log", log, "--log-format", "json"]
    command = [oci.executable, *flags, "create", "--bundle", bundle.path, "--pid-file", pid_file, "c1"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert int(pid_file.read_text()) == oci.pid("c1")
    assert call(*flags, "start", "c1").returncode == 0
    assert json.loads(call(*flags, "ps", "--format", "json", "c1").stdout) == [oci.pid("c1")]
    process = bundle.path / "process.json"
    process.write_text(json.dumps(bundle.config["process"] | {"args": ["sleep", "50"]}))
    detached = [oci.executable, *flags, "exec", "--process", process, "--detach", "--pid-file", pid_file, "c1"]
    subprocess.run(detached, check=True, stdout=subprocess.DEVNULL)
    assert call(*flags, "kill", "--all", "c1", "9").returncode == 0
    os.waitpid(int(pid_file.read_text()), 0)  # as the shim does, without which the container could not end
    assert call(*flags, "delete", "c1", "--force").returncode == 0
    assert call(*flags, "delete", "--force", "c1").returncode == 0
    assert not log.exists() or "error" not in log.read_text()


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_failure_is_in_the_log_and_on_standard_error(
    oci: Oci, bundle: Bundle, call: Callable[..., subprocess.CompletedProcess[str]], form: str
) -> None:
    log = bundle.path / "log"
    done = call(f"--root={oci.root}", f"--log={log}", f"--log-format={form}", "state", "nobody")
    assert done.returncode == 1
    assert "container does not exist" in done.stderr
    (line,) = log.read_text().splitlines()
    if form == "json":
        entry = json.loads(line)
        assert (entry["level"], entry["msg"]) == ("error", "container does not exist")
        assert entry["time"].endswith("Z")
    else:
        assert 'level=error msg="container does not exist"' in line


@pytest.mark.parametrize(
    "flags",
    [
        ["--log", "/no/such/directory/log"],
        ["--log=syslog:minirun"],
        ["--log-format=xml"],
        ["--log=invalid:/no/such/log"],
    ],
)
def test_a_log_that_could_not_be_told_anything_is_refused(
    call: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, flags: list[str]
) -> None:
    done = call(*flags, "--root", tmp_path, "list")
    assert done.returncode == 1
    assert "log" in done.stderr


def test_a_log_may_be_called_a_file(call: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    call(f"--log=file:{tmp_path}/log", "--root", tmp_path / "root", "state", "nobody")
    assert "container does not exist" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("form", ["text", "json"])
def test_debug_logs_what_the_kernel_is_asked_for(oci: Oci, bundle: Bundle, tmp_path: Path, form: str) -> None:
    oci.save(bundle, "echo fine")
    log = tmp_path / "log"
    flags = ["--root", oci.root, "--debug", "--log", log, "--log-format", form]
    command = [str(word) for word in (oci.executable, *flags, "run", "--bundle", bundle.path, "told")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("fine\n", "")
    lines = log.read_text().splitlines()
    if form == "json":
        lines = [f"level={entry['level']} {entry['msg']}" for entry in map(json.loads, lines)]
    assert all("level=debug " in line for line in lines)
    assert any("container: leave the host's root behind: pivot_root(" in line for line in lines)


@pytest.mark.parametrize(
    "flags",
    [
        ["--rootless", "true"],
        ["--rootless=auto"],
        ["--cgroup-manager", "disabled"],
        ["--cgroup-manager=cgroupfs"],
        ["--systemd-cgroup=false"],
        ["-debug"],
        ["--criu", "/usr/bin/criu"],
    ],
)
def test_global_flags_that_callers_give(oci: Oci, bundle: Bundle, flags: list[str]) -> None:
    oci.save(bundle, "echo fine")
    command = [str(oci.executable), "--root", str(oci.root), *flags, "run", "--bundle", str(bundle.path), "flagged"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("fine\n", 0), done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nonsense"], "flag provided but not defined: -nonsense"),
        (["run", "--nonsense", "x"], "flag provided but not defined: -nonsense"),
        (["run", "--bundle"], "flag needs an argument: -bundle"),
        (["create"], "requires exactly 1 argument"),
        (["create", "a", "b"], "requires exactly 1 argument"),
        (["state", "../escape"], "invalid container ID"),
        (["state", ".."], "invalid container ID"),
        (["state", ""], "cannot be empty"),
        (["frobnicate"], "frobnicate"),
        (["--cgroup-manager", "magic", "state", "x"], "cgroup manager"),
        (["list", "--format", "xml"], "format"),
        (["state", "a/b"], "invalid character `/` in the ID"),
        (["delete", "--force=maybe", "x"], "invalid boolean value"),
        (["delete", "--regex", "("], "not a regular expression"),
        (["run", "--preserve-fds", "many", "x"], "whole number"),
        (["checkpoint", "x"], "not supported"),
        (["restore", "-no-subreaper", "--image-path", "/x", "--detach", "x"], "not supported"),
    ],
)
def test_wrong_calls_fail_with_one_clear_line(
    call: Callable[..., subprocess.CompletedProcess[str]], bundle: Bundle, arguments: list[str], words: str
) -> None:
    (bundle.path / "config.json").write_text(json.dumps(bundle.config))
    done = call("--root", bundle.path / "state", *arguments, cwd=bundle.path)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["run", "--help"], ["checkpoint", "--help"], ["exec", "-h"]])
def test_help(call: Callable[..., subprocess.CompletedProcess[str]], arguments: list[str]) -> None:
    done = call(*arguments)
    assert done.returncode == 0
    name, title = done.stdout.splitlines()[:2]
    assert name == "NAME:"
    assert title.lstrip().startswith(f"minirun-oci {arguments[0]}" if len(arguments) > 1 else "minirun-oci - ")
    assert "\nUSAGE:\n" in done.stdout
    assert "\nOPTIONS:\n" in done.stdout


def test_help_on_what_there_is_not(call: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = call("foo", "-h")
    assert done.returncode == 1
    assert "No help topic for 'foo'" in done.stderr


def test_version_as_docker_parses_it(call: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    first, second, third, fourth = call("--version").stdout.splitlines()
    assert fourth.startswith("+")
    assert first.startswith("minirun-oci version ")
    assert second.startswith("commit: ")
    assert third.startswith("spec: 1.")
    assert call("-v").stdout.splitlines()[0] == first


def test_list_and_state(oci: Oci, bundle: Bundle) -> None:
    assert oci("list", "--format", "json").stdout == "null\n"
    bundle.config["annotations"] = {"key": "value"}
    first, second = oci.create(bundle, "sleep 60"), oci.create(bundle, "sleep 60")
    oci("start", first)
    assert sorted(oci("list", "-q").stdout.split()) == sorted([first, second])
    text = oci("list", "-f", "json").stdout
    assert text.startswith('[{"ociVersion":"1.')  # as scripts match it
    rows = {row["id"]: row for row in json.loads(text)}
    assert rows[first]["status"] == "running"
    assert rows[second]["status"] == "created"
    assert rows[first]["owner"] == "root"
    assert rows[first]["annotations"] == {"key": "value"}
    header, *lines = oci("list").stdout.splitlines()
    assert header.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert sorted(line.split()[0] for line in lines) == sorted([first, second])
    state = json.loads(oci("state", first).stdout)
    assert state["rootfs"] == str(bundle.rootfs)
    assert state["bundle"] == str(bundle.path)
    assert state["created"].startswith("20")


def test_ps(oci: Oci, bundle: Bundle) -> None:
    name = oci.create(bundle, "sleep 60")
    oci("start", name)
    header, line = oci("ps", name).stdout.splitlines()
    assert header.split()[:3] == ["UID", "PID", "PPID"]
    assert str(oci.pid(name)) in line.split()
    header, _ = oci("ps", name, "-e", "-x").stdout.splitlines()
    assert header.split() == ["PID", "TTY", "STAT", "TIME", "COMMAND"]


def test_spec(call: Callable[..., subprocess.CompletedProcess[str]], bundle: Bundle) -> None:
    assert call("spec", cwd=bundle.path).returncode == 0
    config = json.loads((bundle.path / "config.json").read_text())
    assert config["process"]["args"] == ["sh"]
    assert config["root"] == {"path": "rootfs", "readonly": True}
    again = call("spec", "--bundle", bundle.path)
    assert again.returncode == 1
    assert "exists" in again.stderr


def test_features_tell_the_truth(call: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    features = json.loads(call("features").stdout)
    assert (features["ociVersionMin"], features["ociVersionMax"]) == ("1.0.0", "1.3.0")
    assert "startContainer" in features["hooks"]
    assert features["potentiallyUnsafeConfigAnnotations"] == [
        "org.minirun.init",
        "org.systemd.property.",
        "run.oci.",
    ]
    linux = features["linux"]
    assert "CAP_CHOWN" in linux["capabilities"]
    kinds = ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]
    assert linux["namespaces"] == kinds
    for name in ("apparmor", "selinux", "netDevices"):
        assert linux[name] == {"enabled": True}, "whether or not this machine has it"
    assert linux["intelRdt"] == {"enabled": True, "schemata": True, "monitoring": True}
    assert linux["cgroup"] == {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True}
    assert "MPOL_WEIGHTED_INTERLEAVE" in linux["memoryPolicy"]["modes"]
    assert linux["memoryPolicy"]["flags"] == ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"]
    flags = ["LOG", "SPEC_ALLOW", "TSYNC", "WAIT_KILLABLE_RECV"]
    assert linux["seccomp"]["knownFlags"] == [f"SECCOMP_FILTER_FLAG_{flag}" for flag in flags]
    assert {"SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"} <= set(linux["seccomp"]["supportedFlags"])


def test_sockets_of_systemd_are_passed_on(oci: Oci, bundle: Bundle) -> None:
    oci.save(bundle, "echo $LISTEN_FDS $LISTEN_PID $LISTEN_FDNAMES; cat <&3")
    script = f"exec 3< /etc/hostname; export LISTEN_FDS=1 LISTEN_FDNAMES=name LISTEN_PID=$$; exec {oci.executable} "
    script += f"--root {oci.root} run --bundle {bundle.path} activated"
    output = subprocess.run(["sh", "-c", script], check=True, capture_output=True, text=True).stdout
    with open("/etc/hostname") as hostname:
        assert output == f"1 1 name\n{hostname.read()}"


def test_sockets_are_passed_on_by_a_caller_who_knows_no_pid(oci: Oci, bundle: Bundle) -> None:
    oci.save(bundle, "echo $LISTEN_FDS $LISTEN_PID")
    done = oci("run", "--bundle", bundle.path, oci.new_id(), env=os.environ | {"LISTEN_FDS": "1"})
    assert done.stdout == "1 1\n"


def test_containers_are_deleted_by_a_regular_expression(oci: Oci, bundle: Bundle) -> None:
    for name in ("one-a", "one-b", "two"):
        oci.launch(bundle.command("sleep 60"), name)
    assert oci("delete", "--regex", "^one-", check=False).returncode == 1  # they are running
    oci("delete", "--force", "--regex", "^one-")
    assert oci.containers() == ["two"]
    oci("delete", "--force", "--regex", "nobody")


def test_a_terminal_in_the_foreground(oci: Oci, bundle: Bundle) -> None:
    bundle.config["process"]["terminal"] = True
    bundle.config["process"]["consoleSize"] = {"height": 11, "width": 22}
    oci.save(bundle, "tty; stty size; read line; echo got $line; exit 3")
    command = [str(oci.executable), "--root", str(oci.root), "run", "--bundle", str(bundle.path), "terminal"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, input="typed\n", timeout=60)
    assert done.returncode == 3, done.stderr
    assert {"/dev/pts/0", "11 22", "got typed"} <= set(done.stdout.splitlines())


@pytest.mark.parametrize(
    ("terminal", "flags", "words"),
    [
        (True, [], "without setting console socket"),
        (False, ["--console-socket", "/x"], "cannot use console socket"),
    ],
)
def test_terminals_and_console_sockets_belong_together(
    oci: Oci, bundle: Bundle, terminal: bool, flags: list[str], words: str
) -> None:
    bundle.config["process"]["terminal"] = terminal
    oci.save(bundle, "true")
    done = oci("create", "--bundle", bundle.path, *flags, "x", check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert oci.containers() == []
