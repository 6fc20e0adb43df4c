"""`docker run`'s options: what they become, and what is refused, in Docker's words where it has some."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.cli.grammar import parse
from minirun.cli.verbs.container.run import RUN, options_of
from minirun.engine.request.options import from_options, warnings
from minirun.engine.sizes import parse_size
from minirun.engine.spec.environment import parse_lines
from minirun.errors import MinirunError
from minirun.model.container import RunRequest, Ulimit
from minirun.model.signals import parse_signal

if TYPE_CHECKING:
    from pathlib import Path


def request_of(*args: str) -> RunRequest:
    parsed = parse(args, RUN.flags, interspersed=False)
    image, *command = parsed.arguments
    return from_options(image, tuple(command), options_of(parsed, RUN.flags))


def test_nothing_asked_for_is_the_default_request() -> None:
    assert request_of("image") == RunRequest(image="image")


def test_options_end_at_the_image() -> None:
    request = request_of("-i", "image", "-t", "--rm", "--", "x")
    assert request.command == ("-t", "--rm", "--", "x")
    assert (request.open_stdin, request.tty, request.auto_remove) == (True, False, False)


@pytest.mark.parametrize(
    ("args", "field", "value"),
    [
        (["-itd"], "tty", True),
        (["--init=true"], "init", True),
        (["--rm=false"], "auto_remove", False),
        (["--entrypoint", ""], "entrypoint", ()),
        (["--entrypoint", "/bin/x"], "entrypoint", ("/bin/x",)),
        (["-e", "A=b=c", "-eB="], "environment", ("A=b=c", "B=")),
        (["-l", "a", "-l", "b=c=d"], "labels", {"a": "", "b": "c=d"}),
        (["--annotation", "a=b"], "annotations", {"a": "b"}),
        (["-h", "my-host.example"], "hostname", "my-host.example"),
        (["--network", "default"], "network", "bridge"),
        (["--net=container:other"], "network", "container:other"),
        (["--expose", "80", "--expose", "90-91/udp"], "expose", ("80/tcp", "90/udp", "91/udp")),
        (["--add-host", "a:10.0.0.1", "--add-host=b=host-gateway"], "extra_hosts", ("a:10.0.0.1", "b:host-gateway")),
        (["--add-host", "six:[::1]"], "extra_hosts", ("six:::1",)),
        (["--dns", "1.1.1.1"], "dns", ("1.1.1.1",)),
        (["--shm-size", "1m"], "shm_size", 1 << 20),
        (
            ["--ulimit", "nofile=1:2", "--ulimit", "core=-1"],
            "ulimits",
            (Ulimit("nofile", 1, 2), Ulimit("core", -1, -1)),
        ),
        (["--device", "/dev/null"], "devices", ("/dev/null:/dev/null:rwm",)),
        (["--device", "/dev/null:/dev/x:r"], "devices", ("/dev/null:/dev/x:r",)),
        (["--device", "/dev/null:rw"], "devices", ("/dev/null:/dev/null:rw",)),
        (["--device-cgroup-rule", "c 1:* rwm"], "device_cgroup_rules", ("c 1:* rwm",)),
        (["--sysctl", "net.ipv4.ip_forward=1"], "sysctls", {"net.ipv4.ip_forward": "1"}),
        (["--security-opt", "no-new-privileges"], "no_new_privileges", True),
        (["--security-opt", "no-new-privileges:false"], "no_new_privileges", False),
        (["--security-opt=seccomp=unconfined"], "seccomp", "unconfined"),
        (["--security-opt=systempaths=unconfined"], "unmask_paths", True),
        (["--security-opt=label=disable", "--security-opt=apparmor=unconfined"], "seccomp", ""),
        (["--pid=container:x"], "pid_mode", "container:x"),
        (["--ipc=shareable"], "ipc_mode", "shareable"),
        (["--cgroupns=host"], "cgroupns_mode", "host"),
        (["--stop-signal", "SIGRTMIN+3"], "stop_signal", "SIGRTMIN+3"),
        (["--stop-timeout", "3"], "stop_timeout", 3),
        (["--restart", "no"], "auto_remove", False),
        (["--log-opt", "max-size=1m", "--log-opt", "max-file=2"], "log_opts", {"max-size": "1m", "max-file": "2"}),
        (["--platform", "linux"], "image", "image"),
        (["--runtime", "minirun", "--userns", "host", "-q", "--no-healthcheck"], "image", "image"),
    ],
)
def test_what_an_option_becomes(args: list[str], field: str, value: object) -> None:
    assert getattr(request_of(*args, "image"), field) == value


@pytest.mark.parametrize(
    ("args", "field", "value"),
    [
        (["-m", "64m"], "memory", 64 << 20),
        (["-m", "64m"], "memory_swap", 128 << 20),
        (["-m", "64m", "--memory-swap", "64m"], "memory_swap", 64 << 20),
        (["-m", "64m", "--memory-swap", "-1"], "memory_swap", -1),
        (["-m", "0"], "memory", None),
        (["--cpus", "0.5"], "nano_cpus", 500_000_000),
        (["--cpus", ".1"], "nano_cpus", 100_000_000),
        (["--cpus", "0"], "nano_cpus", None),
        (["-c", "512"], "cpu_shares", 512),
        (["--cpuset-cpus", "0-1,3"], "cpuset_cpus", "0-1,3"),
        (["--pids-limit", "-1"], "pids_limit", -1),
        (["--cpu-period", "50000", "--cpu-quota", "25000"], "cpu_quota", 25000),
    ],
)
def test_what_a_limit_becomes(args: list[str], field: str, value: object) -> None:
    assert getattr(request_of(*args, "image").resources, field) == value


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-m", "1m"], "Minimum memory limit allowed is 6MB"),
        (["-m", "x"], "invalid size: 'x'"),
        (["-m", "-5"], "invalid size: '-5'"),
        (["--memory-swap", "1g"], "always set the Memory limit"),
        (["-m", "1g", "--memory-swap", "100m"], "memoryswap limit should be larger"),
        (["-m", "10m", "--memory-reservation", "20m"], "can not be less than memory reservation"),
        (["--cpus", "100000"], "range of CPUs is from 0.01 to"),
        (["--cpus", "x"], "failed to parse x"),
        (["--cpus", "1", "--cpu-period", "5000"], "Nano CPUs and CPU Period cannot both be set"),
        (["--cpu-period", "5"], "CPU cfs period can not be less than 1ms"),
        (["--cpuset-cpus", "3-1"], "invalid value 3-1 for --cpuset-cpus"),
        (["--oom-score-adj", "1001"], "range for oom score adj"),
        (["--ulimit", "nofile"], "invalid ulimit argument: nofile"),
        (["--ulimit", "foo=1"], "invalid ulimit type: foo"),
        (["--ulimit", "nofile=2:1"], "soft limit must be less than or equal to hard limit: 2 > 1"),
        (["--ulimit", "nofile=x"], "invalid ulimit value"),
        (["--name", "-x"], "invalid container name"),
        (["--name", "x"], "invalid container name"),
        (["-h", "a..b"], "invalid hostname format"),
        (["-h", "a" * 64], "invalid hostname format"),
        (["-h", "a", "--network", "container:x"], "conflicting options: hostname and the network mode"),
        (["-h", "a", "--uts", "host"], "conflicting options: hostname and the UTS mode"),
        (["-w", "rel"], "it needs to be an absolute path"),
        (["-e", "=x"], "invalid environment variable: =x"),
        (["-l", "=x"], "invalid label '=x': empty name"),
        (["--network", "host", "--mac-address", "02:42:0a:00:00:01"], "mac-address and the network mode"),
        (["--network", "container:"], "invalid container format"),
        (["--network", "container:x", "-p", "80:80"], "port publishing and the container type network mode"),
        (["--ip", "10.0.0.1"], "user defined networks only"),
        (["--network-alias", "x"], "aliases are only supported for user-defined networks"),
        (["--mac-address", "02:42"], "02:42 is not a valid mac address"),
        (["--network", "back", "--ip", "1.2.3"], "IP address of --ip is not correctly formatted: 1.2.3"),
        (["--dns", "x"], "IP address of --dns is not correctly formatted: x"),
        (["--add-host", "x"], "bad format for add-host"),
        (["--expose", "x"], "invalid range format for --expose: x"),
        (["--expose", "70000"], "invalid range format for --expose"),
        (["--device", "null"], "invalid device specification: null"),
        (["--device", "/dev/null:/x:zz"], "invalid device specification"),
        (["--sysctl", "kernel.panic=1"], "sysctl 'kernel.panic=1' is not allowed"),
        (["--sysctl", "net.ipv4/../../kernel.panic=1"], "is not allowed"),
        (["--sysctl", "net.x=1", "--network", "host"], "host's network namespace"),
        (["--security-opt", "foo"], "invalid --security-opt: 'foo'"),
        (["--security-opt", "seccomp=/nonexistent"], "opening seccomp profile (/nonexistent) failed"),
        (["--security-opt", "apparmor=docker-default"], "AppArmor profiles are not built yet"),
        (["--pid", "foo"], "--pid: invalid mode: foo"),
        (["--uts", "container:x"], "--uts: invalid mode"),
        (["--stop-signal", "FOO"], "invalid signal: FOO"),
        (["--restart", "always", "--rm"], "cannot specify both --restart and --rm"),
        (["--restart", "always"], "--restart always is not supported yet"),
        (["--restart", "foo"], "invalid restart policy 'foo'"),
        (["--health-cmd", "true"], "--health-cmd is not supported yet"),
        (["--userns", "private"], "user namespaces are not supported yet"),
        (["--log-driver", "syslog"], "no log driver named 'syslog'"),
        (["--log-opt", "foo=1"], "unknown log opt 'foo'"),
        (["-v", "vol:/x", "--tmpfs", "/x"], "Duplicate mount point: /x"),
        (["--env-file", "/nonexistent"], "cannot read /nonexistent: No such file or directory"),
    ],
)
def test_what_is_refused(args: list[str], message: str) -> None:
    with pytest.raises(MinirunError) as caught:
        request_of(*args, "image")
    assert message in caught.value.message
    assert caught.value.exit_code == 125


def test_options_without_effect_are_told() -> None:
    line = "--memory-swappiness 5 --oom-kill-disable --network host -p 80:80"
    options = options_of(parse(line.split(), RUN.flags), RUN.flags)
    assert [sentence.split()[0] for sentence in warnings(options, from_options("busybox", (), options))] == [
        "--oom-kill-disable",
        "--memory-swappiness",
        "published",
    ]
    assert warnings(options_of(parse([], RUN.flags), RUN.flags), RunRequest("busybox")) == []


def test_a_bare_variable_is_inherited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HERE", "value")
    monkeypatch.delenv("GONE", raising=False)
    file = tmp_path / "env"
    file.write_text('﻿# comment\n  A=1\nHERE\nGONE\nQUOTED="x y"\r\n\n')
    request = request_of("--env-file", str(file), "-e", "HERE", "-e", "GONE", "image")
    assert request.environment == ("A=1", "HERE=value", 'QUOTED="x y"', "HERE=value", "GONE")


def test_a_seccomp_profile_is_read_and_must_be_one(tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    assert request_of("--security-opt", f"seccomp={profile}", "image").seccomp == profile.read_text()
    for text in ("{", "[]", "{}"):
        profile.write_text(text)
        with pytest.raises(MinirunError, match="decoding seccomp profile"):
            request_of("--security-opt", f"seccomp={profile}", "image")


@given(st.lists(st.text().filter(lambda text: "\n" not in text)))
def test_env_files_give_assignments_with_proper_names_or_an_error(lines: list[str]) -> None:
    try:
        entries = parse_lines(lines, "file", lambda _: None)
    except MinirunError:
        return
    for entry in entries:
        name, equals, _ = entry.partition("=")
        assert equals
        assert name
        assert not any(character.isspace() for character in name)


@given(
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True), st.text().filter(lambda text: not {"\n", "\0"} & {*text})
)
def test_an_assignment_survives_an_env_file(name: str, value: str) -> None:
    expected = f"{name}={value}".removesuffix("\r")
    assert parse_lines([f"{name}={value}"], "file", lambda _: None) == [expected]


def test_a_nul_in_an_env_file_is_refused() -> None:
    with pytest.raises(MinirunError, match="file line 2: the value of 'B' contains a NUL byte"):
        parse_lines(["A=1", "B=x\0y"], "file", lambda _: None)


# -- sizes, durations, signals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        ("1k", 1024),
        ("1KB", 1024),
        ("1 KiB", 1024),
        ("1.5g", 3 << 29),
        ("2T", 2 << 40),
        ("7b", 7),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@given(st.text())
def test_a_size_is_a_number_or_an_error(text: str) -> None:
    try:
        size = parse_size(text)
    except MinirunError:
        return
    assert size >= 0
    assert text.strip()[0].isdigit()


@given(st.integers(min_value=0, max_value=2**62), st.sampled_from("kmgt"))
def test_whole_sizes_are_exact(number: int, unit: str) -> None:
    assert parse_size(f"{number}{unit}") == number << (10 * ("kmgt".index(unit) + 1))


@pytest.mark.parametrize(("text", "number"), [("TERM", 15), ("sigkill", 9), ("1", 1), ("RTMIN+3", 37), ("RTMAX-1", 63)])
def test_signals(text: str, number: int) -> None:
    assert parse_signal(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "FOO", "RTMIN+99", "²"])
def test_what_is_no_signal(text: str) -> None:
    with pytest.raises(MinirunError, match="invalid signal"):
        parse_signal(text)
