"""What goes wrong, and how minirun says so: one or two sentences on standard error, and Docker's exit code."""

from __future__ import annotations

import os
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.commands import Minirun
    from tests.support.leftovers import Leftovers
    from tests.support.oci_bundles import Bundle, Oci


def failed(minirun: Minirun, *arguments: str | Path, code: int) -> str:
    """Run a command that must fail with `code`, and return its message."""
    done = minirun(*arguments, check=False)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("minirun: ")
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    return done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--no-such-flag"], "unknown flag: --no-such-flag"),
        (["--memory", "lots"], "lots"),
        (["--memory", "1m"], "Minimum memory limit allowed is 6MB"),
        (["--memory", "10m", "--memory-swap", "5m"], "memory limit"),
        (["--memory-swap", "10m"], "Memory limit"),
        (["--cpus", "100000"], "CPUs"),
        (["--cpus", "two"], "two"),
        (["--cpuset-cpus", "a-b"], "a-b"),
        (["--pids-limit", "few"], "few"),
        (["--shm-size", "-1"], "-1"),
        (["--ulimit", "nonsense=1"], "nonsense"),
        (["--ulimit", "nofile=9:3"], "9 > 3"),
        (["--publish", "notaport"], "notaport"),
        (["--publish", "99999:80"], "99999"),
        (["--publish", "1.2.3:80:80"], "1.2.3"),
        (["--publish", "80:80/icmp"], "icmp"),
        (["--network", "no-such-network"], "no-such-network"),
        (["--network", "container:nobody"], "nobody"),
        (["--cap-add", "NONSENSE"], "NONSENSE"),
        (["--cap-drop", "NONSENSE"], "NONSENSE"),
        (["--security-opt", "seccomp=/no/such/file"], "/no/such/file"),
        (["--security-opt", "nonsense"], "nonsense"),
        (["--sysctl", "kernel.panic=1"], "kernel.panic"),
        (["--sysctl", "nonsense"], "nonsense"),
        (["--stop-signal", "NONSENSE"], "NONSENSE"),
        (["--env-file", "/no/such/file"], "/no/such/file"),
        (["--env", "=x"], "=x"),
        (["--label-file", "/no/such/file"], "/no/such/file"),
        (["--hostname", "-bad-"], "-bad-"),
        (["--add-host", "nonsense"], "nonsense"),
        (["--dns", "nonsense"], "nonsense"),
        (["--device", "/dev/no-such-device"], "/dev/no-such-device"),
        (["--restart", "sometimes"], "sometimes"),
        (["--rm", "--restart", "always"], "--rm"),
        (["--pull", "sometimes"], "sometimes"),
        (["--log-driver", "nonsense"], "nonsense"),
        (["--platform", "linux/sparc"], "sparc"),
        (["--runtime", "nonsense"], "nonsense"),
        (["--oom-score-adj", "5000"], "5000"),
        (["--tty=maybe"], "maybe"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options(minirun: Minirun, busybox_image: str, options: list[str], message: str) -> None:
    assert message in failed(minirun, "run", *options, busybox_image, "true", code=125)


def test_no_bad_option_leaves_anything(minirun: Minirun, busybox_image: str, leftovers: Leftovers) -> None:
    for options in (
        ["--user=nobody-here"],
        ["--device=/dev/null:/etc/passwd/x"],
        ["--sysctl=net.no.such=1"],
        ["-w/etc/passwd"],
    ):
        done = minirun("run", "--rm", *options, "-p", "18081:80", "-v", "/x", busybox_image, "true", check=False)
        assert done.returncode in (125, 126)
        assert "Traceback" not in done.stderr
    assert minirun("ps", "-aq").stdout == ""
    leftovers.check()


def test_images_that_are_not_there(minirun: Minirun, busybox_image: str) -> None:
    assert "Unable to find image 'missing:latest' locally" in failed(
        minirun, "run", "--pull=never", "missing", "true", code=125
    )
    assert "busybox:2" in failed(minirun, "run", "--pull=never", f"{busybox_image}:2", "true", code=125)
    assert "invalid reference format" in failed(minirun, "run", "Bad//Name", "true", code=125)
    assert "missing" in failed(minirun, "create", "--pull=never", "missing", code=1)


def test_an_image_that_is_nearly_there_is_suggested(minirun: Minirun, busybox_image: str) -> None:
    assert f"Did you mean '{busybox_image}'?" in failed(minirun, "run", "--pull=never", "bussybox", code=125)
    assert f"There is {busybox_image}:latest." in failed(
        minirun, "create", "--pull=never", f"{busybox_image}:2", code=1
    )
    assert "images/build demo" in failed(minirun, "run", "--pull=never", "demo", code=125)
    assert "'minirun pull'" in failed(minirun, "run", "--pull=never", "nginx", code=125)


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (["--rm", "echo"], "Flags of 'run' go before the image: minirun run --rm ... busybox ..."),
        (["-eA=1", "echo"], "Flags of 'run' go before the image: minirun run -eA=1 ... busybox ..."),
        (["echo hi"], "one word with a space in it"),
        (["cd", "/"], "'cd' is a part of the shell and no program: run busybox sh -c 'cd /'."),
        (["A=b", "env"], "minirun run -e A=b busybox env."),
        (["bash"], "most have sh"),
        ([""], "empty word"),
        (["nonsense"], "Is it installed in the image?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_commands_that_are_no_programs(minirun: Minirun, busybox_image: str, command: list[str], hint: str) -> None:
    assert hint in failed(minirun, "run", "--rm", "--network=none", busybox_image, *command, code=127)


def test_the_same_for_exec(minirun: Minirun, busybox_image: str) -> None:
    minirun("run", "-d", "--name=box", "--network=none", busybox_image, "sleep", "1000")
    assert "before the container: minirun exec -it ... box ..." in failed(minirun, "exec", "box", "-it", "sh", code=127)
    assert "Flags of" not in failed(minirun, "exec", "box", "--rm", code=127)  # exec has no such flag
    assert "exec box sh -c 'export A=b'" in failed(minirun, "exec", "box", "export", "A=b", code=127)


@pytest.mark.parametrize(
    ("file", "message", "code"),
    [
        (b"#!/no/such/program -x\n", "no such file or directory: its interpreter /no/such/program is missing", 127),
        (b"#!/bin/sh\r\necho\r\n", "no such file or directory: its first line ends with a carriage return", 127),
        (b"echo no first line\n", "exec format error", 126),
        (b"\x7fELF" + bytes(200), "exec format error", 126),
        (b"", "exec format error", 126),
    ],
    ids=["interpreter", "carriage return", "no first line", "ELF", "empty"],
)
def test_a_script_that_cannot_be_executed(
    minirun: Minirun, busybox_image: str, scratch: Path, file: bytes, message: str, code: int
) -> None:
    (scratch / "script").write_bytes(file)
    (scratch / "script").chmod(0o755)
    mount = f"{scratch}/script:/script:ro"
    done = minirun("run", "--rm", "--network=none", "-v", mount, busybox_image, "/script", check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(f"exec /script: {message}")


def test_messages_do_not_steer_the_terminal(minirun: Minirun, busybox_image: str) -> None:
    message = failed(minirun, "run", "--rm", busybox_image, "\x9b31mred\nminirun: all is well", code=127)
    assert '"\\x9b31mred\\nminirun: all is well"' in message


def test_what_a_container_is_called_does_not_steer_the_terminal(minirun: Minirun, busybox_image: str) -> None:
    minirun("create", "--name=box", "--label=a=\x9b31m\u202e", busybox_image, "echo", "\x1b[31m", os.fsdecode(b"\xff"))
    for words in (["ps", "-a", "--no-trunc"], ["inspect", "box"]):
        told = minirun(*words, env={"LC_ALL": "C.UTF-8"}).stdout
        assert all(character.isprintable() or character == "\n" for character in told)
        assert "\\udcff" in told
    assert minirun.inspect("box")["Config"]["Labels"] == {"a": "\x9b31m\u202e"}
    raw = minirun.raw("inspect", "-f", "{{index .Args 1}}", "box", env={"LC_ALL": "C.UTF-8"}).stdout
    assert raw == b"\xff\n"


def test_too_few_and_too_many_arguments(minirun: Minirun) -> None:
    failed(minirun, "run", code=1)
    failed(minirun, "create", code=1)
    failed(minirun, "start", code=1)
    failed(minirun, "rename", "one", code=1)
    failed(minirun, "exec", "one", code=1)
    failed(minirun, "port", "one", "two", "three", code=1)


def test_wrong_commands_and_flags(minirun: Minirun) -> None:
    assert "Did you mean 'minirun inspect'" in failed(minirun, "inspekt", code=1)
    assert "unknown flag" in failed(minirun, "ps", "--no-such-flag", code=125)
    assert "unknown flag" in failed(minirun, "--no-such-flag", "ps", code=125)


@pytest.mark.parametrize(
    "command",
    [
        ["start"], ["stop"], ["restart"], ["kill"], ["pause"], ["unpause"], ["rm"], ["logs"], ["attach"], ["port"],
        ["top"], ["stats", "--no-stream"], ["wait"], ["inspect", "--type=container", "-f", "{{.Id}}"],
    ],
    ids=lambda command: command[0],
)  # fmt: skip
def test_a_container_that_is_not_there(minirun: Minirun, command: list[str]) -> None:
    done = minirun(*command, "missing", check=False)
    assert done.returncode == 1
    assert "No such container: missing" in done.stderr
    assert done.stdout.strip() == ""


def test_a_taken_port_leaves_nothing(minirun: Minirun, busybox_image: str, leftovers: Leftovers) -> None:
    minirun("run", "-d", "--name=holder", "-p", "18082:80", busybox_image, "sleep", "100")
    with socket.create_server(("127.0.0.1", 18083)):
        for port in (18082, 18083):
            message = failed(minirun, "run", "--rm", "-p", f"{port}:80", busybox_image, "true", code=125)
            assert "port is already allocated" in message
    minirun("rm", "-f", "holder")
    leftovers.check()


def test_an_ambiguous_id(minirun: Minirun, busybox_image: str) -> None:
    for _ in range(17):
        minirun("create", busybox_image)
    first_digits = [line[0] for line in minirun("ps", "-aq").stdout.splitlines()]
    twice = next(digit for digit in first_digits if first_digits.count(digit) > 1)
    assert "more than one" in failed(minirun, "logs", twice, code=1)


def test_debug_shows_the_traceback(minirun: Minirun, busybox_image: str) -> None:
    done = minirun("--debug", "run", "--user", "nobody-here", busybox_image, "true", check=False)
    assert done.returncode == 125
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("arguments", [["ps"], ["run", "--rm", "busybox", "echo", "x"]], ids=lambda words: words[0])
def test_output_that_no_disk_has_room_for(minirun: Minirun, busybox_image: str, arguments: list[str]) -> None:  # noqa: ARG001
    with open("/dev/full", "wb") as full:
        process = minirun.start(*arguments, stdout=full.fileno())
        _, stderr = process.communicate(timeout=20)
    assert process.returncode == (125 if arguments[0] == "run" else 1)
    assert stderr.startswith(b"minirun: ")
    assert stderr.endswith(b"No space left on device.\n")


def test_paths_that_cannot_be(minirun: Minirun, busybox_image: str, leftovers: Leftovers) -> None:
    assert "/dev/null/" in failed(minirun, "--root", "/dev/null", "ps", code=1)
    assert "/no/such/directory" in failed(
        minirun, "run", "--cidfile=/no/such/directory/x", busybox_image, "true", code=125
    )
    assert "too long" in failed(minirun, "run", "--name", "x" * 300, busybox_image, "true", code=125)
    leftovers.check()


def test_without_root(minirun: Minirun, busybox_image: str) -> None:
    command = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
    # No other user may enter pytest's directory, so the program is given as an open file.
    with open(minirun.executable.parent / "scripts" / "minirun") as program:
        done = subprocess.run(
            [*command, *program.readline()[2:].split(), "-", "run", busybox_image, "true"],
            stdin=program if program.seek(0) == 0 else None,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 125
    assert "root" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_file_system_is_said(minirun: Minirun, tmp_path: Path) -> None:
    root = tmp_path / "small"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "small", root], check=True)
    try:
        done = minirun("--root", root, "import", "/nonexistent.tar", "x", check=False)
        assert done.returncode == 1
        assert "/nonexistent.tar" in done.stderr
        with open("/dev/zero", "rb") as zeros:
            (root / "filler").write_bytes(zeros.read(60 << 10))
        done = minirun("--root", root, "load", input=os.urandom(1 << 20), check=False)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "internal error" not in done.stderr
    finally:
        subprocess.run(["umount", root], check=True)


def test_a_callers_id_does_not_steer_the_terminal(oci: Oci, bundle: Bundle) -> None:
    hostile = "\x1b[31mred\n\x9b\u202e\udcff"
    oci.save(bundle.command("true"), "")
    for words in (["create", "--bundle", str(bundle.path), hostile], ["create", "--bundle", hostile, "x"], [hostile]):
        done = oci(*words, check=False, errors="surrogateescape")
        assert done.returncode == 1
        assert "\\x1b[31mred\\n\\x9b\\u202e\\udcff" in done.stderr
        assert set(done.stderr) - {"\n"} == {character for character in done.stderr if character.isprintable()}
        assert len(done.stderr.splitlines()) <= 2
    bundle.config["process"]["capabilities"]["bounding"].append("\x1b[31mred")
    oci.save(bundle, "")
    assert "\\x1b[31mred" in oci("run", "--bundle", bundle.path, "x", errors="surrogateescape").stderr
