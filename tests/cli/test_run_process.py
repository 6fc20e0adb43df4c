"""What the process of `minirun run` is: its command, exit code, environment, work directory, user and rights."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from support.image_archives import entry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.commands import Minirun

    MakeImage = Callable[..., str]
    Shell = Callable[..., str]

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


# -- exit codes -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("script", "code"), [("exit 7", 7), ("exit 300", 44), ("kill -9 $$; sleep 9", 137), ("true", 0)]
)
def test_the_commands_exit_code_is_minirun_s(minirun: Minirun, busybox_image: str, script: str, code: int) -> None:
    # The first process of a PID namespace is immune to its own SIGKILL, so a second one stands in for it.
    wrapped = f"sh -c '{script}'; exit $?"
    assert minirun("run", "--rm", "--network=none", busybox_image, "sh", "-c", wrapped, check=False).returncode == code


def test_a_command_that_is_missing(minirun: Minirun, busybox_image: str) -> None:
    done = minirun("run", "--rm", busybox_image, "no-such-command", check=False)
    assert done.returncode == 127
    assert "executable file not found in $PATH" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    done = minirun("run", "--rm", busybox_image, "/no/such/command", check=False)
    assert done.returncode == 127
    assert "no such file or directory" in done.stderr.lower()


@pytest.mark.parametrize("command", ["/etc/passwd", "/etc", "/"])
def test_a_command_that_cannot_be_executed(minirun: Minirun, busybox_image: str, command: str) -> None:
    done = minirun("run", "--rm", busybox_image, command, check=False)
    assert done.returncode == 126
    assert "permission denied" in done.stderr.lower() or "is a directory" in done.stderr.lower()


def test_programs_that_the_kernel_cannot_load(minirun: Minirun, make_image: MakeImage) -> None:
    image = make_image(
        "broken-programs",
        [
            entry("missing-interpreter", b"#!/no/such/interpreter\necho hello\n", mode=0o755),
            entry("no-shebang", b"echo hello\n", mode=0o755),
            entry("broken-elf", b"\x7fELF\x02\x01\x01" + bytes(100), mode=0o755),
            entry("empty", mode=0o755),
        ],
    )
    expected = {"/missing-interpreter": 127, "/no-shebang": 126, "/broken-elf": 126, "/empty": 126}
    for command, code in expected.items():
        done = minirun("run", "--rm", image, command, check=False)
        assert (command, done.returncode) == (command, code)
        assert f"exec {command}: " in done.stderr
        assert done.stdout == ""


# -- entrypoint and command -------------------------------------------------------------------------------------------
@pytest.fixture
def image_with_entrypoint(make_image: MakeImage) -> str:
    return make_image("with-entrypoint", Entrypoint=["echo", "entry"], Cmd=["default"], Env=["FROM_IMAGE=yes"])


def test_entrypoint_and_command(minirun: Minirun, image_with_entrypoint: str) -> None:
    def output(*arguments: str) -> str:
        return minirun("run", "--rm", "--network=none", *arguments).stdout

    assert output(image_with_entrypoint) == "entry default\n"
    assert output(image_with_entrypoint, "given", "words") == "entry given words\n"
    assert output("--entrypoint", "echo", image_with_entrypoint) == "\n", "another entrypoint clears the image's CMD"
    assert output("--entrypoint", "echo", image_with_entrypoint, "given") == "given\n"
    assert output("--entrypoint", "", image_with_entrypoint, "echo", "given") == "given\n"


def test_no_command_at_all(minirun: Minirun, image_with_entrypoint: str) -> None:
    done = minirun("run", "--rm", "--entrypoint", "", image_with_entrypoint, check=False)
    assert done.returncode == 125
    assert "no command specified" in done.stderr.lower()


def test_arguments_arrive_as_they_are(minirun: Minirun, busybox_image: str) -> None:
    words = ["", "two words", "*", "$HOME", "--rm", "ü", "a\nb", "'\""]
    done = minirun("run", "--rm", "--network=none", busybox_image, "sh", "-c", 'printf "%s|" "$@"', "sh", *words)
    assert done.stdout == "".join(f"{word}|" for word in words)


# -- environment ------------------------------------------------------------------------------------------------------
def environment(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


def test_the_environment_and_nothing_of_the_hosts(minirun: Minirun, image_with_entrypoint: str) -> None:
    options = [
        "--rm",
        "--network=none",
        "--entrypoint=env",
        "-h",
        "box",
        "-e",
        "GIVEN=a=b c",
        "-e",
        "TAKEN",
        "-e",
        "NOT_SET",
    ]
    done = minirun("run", *options, image_with_entrypoint, env={"TAKEN": "over", "SECRET": "of the host"})
    assert environment(done.stdout) == {
        "PATH": DEFAULT_PATH,
        "HOSTNAME": "box",
        "FROM_IMAGE": "yes",
        "GIVEN": "a=b c",
        "TAKEN": "over",
        "HOME": "/root",
    }
    done = minirun("run", *options, "-e", "FROM_IMAGE=no", "-e", "PATH=/bin", "-e", "HOME=/h", image_with_entrypoint)
    assert environment(done.stdout).items() >= {"FROM_IMAGE": "no", "PATH": "/bin", "HOME": "/h"}.items()


def test_the_first_process_has_no_other_environment(shell: Shell) -> None:
    assert "HOST_VARIABLE" not in shell("tr '\\0' '\\n' < /proc/1/environ")
    assert "TERM=" not in shell("env")


def test_env_file(minirun: Minirun, busybox_image: str, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text('# a comment\n\nA=1\nQUOTED="q"\nSPACES=  x y \nTAKEN\nB=from file\n')
    options = ["run", "--rm", "--network=none", "--env-file", file, "-e", "B=from flag"]
    found = environment(minirun(*options, busybox_image, "env", env={"TAKEN": "over"}).stdout)
    expected = {"A": "1", "QUOTED": '"q"', "SPACES": "  x y ", "TAKEN": "over", "B": "from flag"}
    assert found.items() >= expected.items()
    file.write_text("BAD NAME=1\n")
    done = minirun(*options, busybox_image, "env", check=False)
    assert done.returncode == 125
    assert "white" in done.stderr


# -- work directory and host name -------------------------------------------------------------------------------------
def test_work_directory(shell: Shell, make_image: MakeImage) -> None:
    assert shell("-w", "/tmp", "pwd") == "/tmp\n"
    assert shell("-w", "/made/for/it", "-u", "1000", "pwd; stat -c %u:%g .") == "/made/for/it\n0:0\n"
    image = make_image("with-workdir", WorkingDir="/of/image")
    assert shell("pwd", image=image) == "/of/image\n"
    assert shell("-w", "/tmp/../etc/", "pwd", image=image) == "/etc\n"


def test_a_relative_work_directory_is_refused(minirun: Minirun, busybox_image: str) -> None:
    done = minirun("run", "--rm", "-w", "etc", busybox_image, "pwd", check=False)
    assert done.returncode == 125
    assert "absolute path" in done.stderr


def test_a_work_directory_that_is_a_file(minirun: Minirun, busybox_image: str) -> None:
    done = minirun("run", "--rm", "-w", "/etc/passwd", busybox_image, "pwd", check=False)
    assert done.returncode in (125, 126)
    assert "/etc/passwd" in done.stderr


def test_host_names(minirun: Minirun, busybox_image: str, shell: Shell, tmp_path: Path) -> None:
    id_file = tmp_path / "id"
    done = minirun(
        "run", "--rm", "--cidfile", id_file, busybox_image, "sh", "-c", "hostname; cat /etc/hostname; echo $HOSTNAME"
    )
    assert done.stdout.split() == [id_file.read_text()[:12]] * 3
    assert shell(
        "-h", "my-name.example", "--domainname", "dom", "hostname; echo $HOSTNAME; cat /proc/sys/kernel/domainname"
    ) == ("my-name.example\nmy-name.example\ndom\n")
    assert shell("--uts", "host", "hostname").strip() == os.uname().nodename


# -- users ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("user", "1000 1000 1000,44 /home/user"),
        ("1000", "1000 1000 1000,44 /home/user"),
        ("user:root", "1000 0 0 /home/user"),
        ("user:44", "1000 44 44 /home/user"),
        ("4711", "4711 0 0 /"),
        ("4711:4712", "4711 4712 4712 /"),
        (":1000", "0 1000 1000 /root"),
        ("0", "0 0 0 /root"),
    ],
)
def test_users(shell: Shell, user: str, expected: str) -> None:
    printed = shell("-u", user, "echo $(id -u) $(id -g) $(id -G | tr ' ' ,) $HOME")
    uid, gid, groups, home = printed.split()
    assert " ".join((uid, gid)) == " ".join(expected.split()[:2])
    assert set(groups.split(",")) == set(expected.split()[2].split(","))
    assert home == expected.split()[3]


def test_the_images_user(make_image: MakeImage, shell: Shell) -> None:
    image = make_image("with-user", User="user")
    assert shell("id -un", image=image) == "user\n"
    assert shell("-u", "root", "id -un", image=image) == "root\n"


def test_users_that_are_not_there(minirun: Minirun, busybox_image: str) -> None:
    for user, missing in (("nobody-here", "nobody-here"), ("root:no-group", "no-group")):
        done = minirun("run", "--rm", "-u", user, busybox_image, "true", check=False)
        assert done.returncode == 125
        assert missing in done.stderr or "no matching entries" in done.stderr
    done = minirun("run", "--rm", "--group-add", "no-group", busybox_image, "true", check=False)
    assert done.returncode == 125
    assert "no-group" in done.stderr


def test_group_add_takes_names_and_numbers(shell: Shell) -> None:
    assert set(shell("--group-add", "video", "--group-add", "4711", "id -G").split()) == {"0", "44", "4711"}


def test_users_of_an_image_without_passwd(make_image: MakeImage, shell: Shell) -> None:
    image = make_image("no-passwd", [entry("etc/.wh.passwd"), entry("etc/.wh.group")])
    assert shell("echo $(id -u) $HOME", image=image) == "0 /\n"
    assert shell("-u", "7:8", "echo $(id -u) $(id -g) $HOME", image=image) == "7 8 /\n"


# -- process 1 --------------------------------------------------------------------------------------------------------
def test_init_is_process_1_and_reaps(shell: Shell) -> None:
    script = "cat /proc/1/comm; (sleep 0.05 & exec true); sleep 0.3; ps -o stat,comm | grep -c '^Z' || true; echo $$"
    name, zombies, pid = shell("--init", script).split("\n")[:3]
    assert "init" in name
    assert zombies == "0"
    assert int(pid) > 1
    assert shell("echo $$") == "1\n"


def test_init_hands_the_exit_code_and_signals_on(minirun: Minirun, busybox_image: str) -> None:
    options = ["run", "--rm", "--init", "--network=none", busybox_image]
    assert minirun(*options, "sh", "-c", "exit 9", check=False).returncode == 9
    assert minirun(*options, "sh", "-c", "kill -TERM $$", check=False).returncode == 143
    assert minirun(*options, "no-such-command", check=False).returncode == 127


def test_resource_limits_and_oom_score(shell: Shell) -> None:
    script = "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj"
    assert shell("--ulimit", "nofile=100:200", "--oom-score-adj", "500", script) == "100\n200\n500\n"
    assert shell("--ulimit", "core=0", "ulimit -c") == "0\n"


def test_standard_output_of_minirun_stays_empty_on_errors(minirun: Minirun, busybox_image: str) -> None:
    missing = ["--pull=never", "no-such-image", "true"]
    for arguments in (missing, ["-w", "rel", busybox_image], [busybox_image, "no-such-command"]):
        done = minirun("run", "--rm", *arguments, check=False)
        assert done.returncode >= 125
        assert done.stdout == ""
        assert done.stderr.startswith("minirun: ")
        assert len(done.stderr.splitlines()) <= 3


def test_scripts_are_found_and_named_as_by_execvp(make_image: MakeImage, minirun: Minirun) -> None:
    image = make_image("scripts", [entry("opt/script", b"#!/bin/sh\necho $0 $1\n", mode=0o755)])
    assert minirun("run", "--rm", "--network=none", "-w", "/opt", image, "./script", "x").stdout == "./script x\n"
    assert (
        minirun("run", "--rm", "--network=none", "-e", "PATH=/opt:/bin", image, "script", "y").stdout
        == "/opt/script y\n"
    )
