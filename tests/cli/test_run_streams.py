"""Standard streams, terminals, detaching and attaching, and signals on their way to the container."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.commands import Minirun
    from tests.support.terminal import Terminal

    OpenTerminal = Callable[..., Terminal]
    Shell = Callable[..., str]

DETACH = "\x10\x11"  # Ctrl-P Ctrl-Q


# -- pipes ------------------------------------------------------------------------------------------------------------
def test_standard_input(minirun: Minirun, busybox_image: str) -> None:
    options = ["run", "--rm", "--network=none"]
    assert minirun(*options, "-i", busybox_image, "cat", input="piped\n").stdout == "piped\n"
    closed = minirun(*options, busybox_image, "sh", "-c", "wc -c; readlink /proc/self/fd/0", input="piped\n").stdout
    assert closed.split() == ["0", "/dev/null"]


def test_a_megabyte_comes_back_identical(minirun: Minirun, busybox_image: str) -> None:
    data = os.urandom(1 << 20)
    done = minirun.raw("run", "--rm", "-i", "--network=none", busybox_image, "cat", input=data)
    assert done.stdout == data
    done = minirun.raw("run", "--rm", "-i", "--network=none", "--log-driver=none", busybox_image, "cat", input=data)
    assert done.stdout == data


def test_output_and_error_stay_apart(minirun: Minirun, busybox_image: str) -> None:
    command = [busybox_image, "sh", "-c", "echo out; echo err >&2"]
    done = minirun("run", "--rm", "--network=none", *command)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    done = minirun("run", "--rm", "--network=none", "-a", "stdout", *command)
    assert (done.stdout, done.stderr) == ("out\n", "")
    done = minirun("run", "--rm", "--network=none", "-a", "stderr", *command)
    assert (done.stdout, done.stderr) == ("", "err\n")


def test_all_output_has_arrived_when_run_ends(minirun: Minirun, busybox_image: str) -> None:
    done = minirun("run", "--rm", "--network=none", busybox_image, "seq", "100000")
    assert done.stdout.split() == [str(number) for number in range(1, 100001)]


def test_a_reader_that_goes_away(minirun: Minirun, busybox_image: str) -> None:
    command = f"{minirun.executable} run --rm --network=none {busybox_image} yes | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "y\n"
    assert "Traceback" not in done.stderr


def test_streams_can_be_opened_again_by_their_names(minirun: Minirun, busybox_image: str) -> None:
    script = "echo out > /dev/stdout; echo err > /dev/stderr; cat /dev/stdin"
    done = minirun("run", "--rm", "-i", "-u", "1000", "--network=none", busybox_image, "sh", "-c", script, input="in\n")
    assert (done.stdout, done.stderr) == ("out\nin\n", "err\n")


def test_attach_contradicts_detach(minirun: Minirun, busybox_image: str) -> None:
    done = minirun("run", "-d", "-a", "stdout", busybox_image, "true", check=False)
    assert done.returncode == 1
    assert done.stdout == ""


@pytest.mark.parametrize("closed", [{0}, {1}, {2}, {0, 1, 2}], ids=str)
def test_streams_that_the_caller_has_closed(
    minirun: Minirun, busybox_image: str, scratch: Path, closed: set[int]
) -> None:
    script = "cat; echo out; echo err >&2; ls /proc/self/fd > /shared/descriptors; exit 7"
    options = ["run", "-i", "--network=none", f"--volume={scratch}:/shared"]
    closing = " ".join(f"{fd}>&-" for fd in closed)
    process = subprocess.run(
        ["sh", "-c", f'"$@" {closing}', "-", minirun.executable, *options, busybox_image, "sh", "-c", script],
        check=False,
        input=b"",
        capture_output=True,
    )
    assert process.returncode == 7
    assert process.stdout == (b"" if 1 in closed else b"out\n")
    assert process.stderr == (b"" if 2 in closed else b"err\n")
    # The standard streams and the directory that ls reads: nothing of minirun's.
    assert (scratch / "descriptors").read_text().split() == ["0", "1", "2", "3"]


# -- terminals --------------------------------------------------------------------------------------------------------
def test_a_terminal(terminal: OpenTerminal, busybox_image: str) -> None:
    script = (
        'tty; stat -c %t:%T /dev/console; echo "$TERM"; stty size; test -t 0 -a -t 1 -a -t 2 && echo all; ps -o pid,tty'
    )
    shown = terminal("run", "--rm", "-it", busybox_image, "sh", "-c", script, rows=33, columns=99)
    shown.expect(r"^/dev/pts/0\r\n")
    shown.expect(r"^88:0\r\n")
    shown.expect(r"^xterm\r\n")
    shown.expect(r"^33 99\r\n")
    shown.expect(r"^all\r\n")
    shown.expect(r"1 136,0")
    assert shown.wait() == 0
    assert shown.is_restored()


def test_the_size_follows_the_users_terminal(terminal: OpenTerminal, busybox_image: str) -> None:
    script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done"
    shown = terminal("run", "--rm", "-it", "--name=sized", busybox_image, "sh", "-c", script)
    shown.expect("ready")
    shown.resize(40, 120)
    shown.expect(r"40 120\r\n")
    executed = terminal("exec", "-it", "sized", "sh", "-c", script, rows=11, columns=22)
    executed.expect("ready")
    executed.resize(12, 24)
    executed.expect(r"12 24\r\n")


def test_no_change_of_size_is_missed(terminal: OpenTerminal, busybox_image: str) -> None:
    """Each comes right after the output that the last one caused, when minirun is about to wait for the next."""
    script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.01; done"
    shown = terminal("run", "--rm", "-it", "--network=none", busybox_image, "sh", "-c", script)
    shown.expect("ready")
    for rows in range(10, 210):
        shown.resize(rows, 99)
        shown.expect(rf"{rows} 99\r\n")


def test_typing_reaches_the_container_and_control_c_its_foreground(terminal: OpenTerminal, busybox_image: str) -> None:
    shown = terminal("run", "--rm", "-it", "-e", "PS1=$ ", busybox_image)
    shown.expect(r"\$ ")
    shown.send("""sh -c 'echo be""gun; sleep 100'\r""")
    shown.expect(r"begun\r\n")  # only what is in the foreground already can say so
    shown.send("\x03")
    shown.expect(r"\$ ")
    shown.send("exit 5\r")
    assert shown.wait() == 5
    assert shown.is_restored()


def test_a_terminal_for_output_only(minirun: Minirun, busybox_image: str) -> None:
    done = minirun("run", "--rm", "-t", "--network=none", busybox_image, "sh", "-c", "test -t 1 && echo tty")
    assert done.stdout == "tty\r\n"


def test_it_without_a_terminal_is_refused(minirun: Minirun, busybox_image: str) -> None:
    done = minirun("run", "--rm", "-it", busybox_image, "true", check=False, input="x")
    assert done.returncode == 1
    assert "the input device is not a TTY" in done.stderr
    minirun("run", "-d", "--name=running", "--network=none", busybox_image, "sleep", "100")
    done = minirun("exec", "-it", "running", "true", check=False, input="x")
    assert done.returncode == 1
    assert "the input device is not a TTY" in done.stderr


@pytest.mark.parametrize("command", [["true"], ["sh", "-c", "kill -9 $$"], ["no-such-command"]], ids=" ".join)
def test_the_terminal_is_restored_after_every_end(
    terminal: OpenTerminal, busybox_image: str, command: list[str]
) -> None:
    shown = terminal("run", "--rm", "-it", "--init", "--network=none", busybox_image, *command)
    assert shown.wait() in (0, 127, 137)
    assert shown.is_restored()


def test_the_terminal_is_restored_when_minirun_is_asked_to_end(
    terminal: OpenTerminal, busybox_image: str, minirun: Minirun
) -> None:
    shown = terminal(
        "run",
        "--rm",
        "-it",
        "--name=ended",
        busybox_image,
        "sh",
        "-c",
        "trap 'exit 4' TERM; echo up; while :; do sleep 0.05; done",
    )
    shown.expect("up")
    minirun("stop", "ended")
    assert shown.wait() == 4
    assert shown.is_restored()


# -- detaching and attaching ------------------------------------------------------------------------------------------
def test_detach_and_attach(terminal: OpenTerminal, minirun: Minirun, busybox_image: str) -> None:
    shown = terminal("run", "-it", "--name=kept", "-e", "PS1=$ ", busybox_image)
    shown.expect(r"\$ ")
    shown.send("x=remembered\r")
    shown.expect(r"\$ ")
    shown.send(DETACH)
    assert shown.wait() == 0
    assert shown.is_restored()
    assert minirun.inspect("kept")["State"]["Running"] is True
    again = terminal("attach", "kept")
    again.send("echo $x\r")
    again.expect(r"remembered\r\n")
    again.send("exit 6\r")
    assert again.wait() == 6
    assert again.is_restored()
    minirun.wait_until("kept", "State.Status", "exited")


def test_detach_keys(terminal: OpenTerminal, minirun: Minirun, busybox_image: str) -> None:
    shown = terminal("run", "-it", "--rm", "--name=other", "--detach-keys", "ctrl-a,x", "-e", "PS1=$ ", busybox_image)
    shown.expect(r"\$ ")
    shown.send("\x10\x11")
    shown.send("\x01x")
    assert shown.wait() == 0
    assert minirun.inspect("other")["State"]["Running"] is True
    executed = terminal("exec", "-it", "-e", "PS1=exec ", "other", "sh")
    executed.expect("exec ")
    executed.send(DETACH)
    assert executed.wait() == 0
    done = minirun("run", "--rm", "--detach-keys", "ctrl-1", busybox_image, "true", check=False)
    assert done.returncode == 125


def test_an_auto_removed_container_goes_after_detaching(
    terminal: OpenTerminal, minirun: Minirun, busybox_image: str
) -> None:
    shown = terminal("run", "-it", "--rm", "--name=going", "-e", "PS1=$ ", busybox_image)
    shown.expect(r"\$ ")
    shown.send(DETACH)
    assert shown.wait() == 0
    minirun("kill", "going")
    eventually(lambda: minirun("ps", "-aq").stdout == "")


def test_attach_without_a_terminal(minirun: Minirun, busybox_image: str) -> None:
    minirun(
        "run", "-d", "-i", "--name=reader", "--network=none", busybox_image, "sh", "-c", "read x; echo got $x; exit 3"
    )
    done = minirun("attach", "reader", input="hello\n", check=False)
    assert (done.returncode, done.stdout) == (3, "got hello\n")
    done = minirun("attach", "reader", check=False)
    assert done.returncode == 1
    assert "stopped" in done.stderr or "not running" in done.stderr


# -- signals ----------------------------------------------------------------------------------------------------------
TRAPS = """
trap 'echo got TERM; exit 3' TERM
trap 'echo got INT; exit 4' INT
trap 'echo got USR1' USR1
echo up
while :; do sleep 0.05; done
"""


def started(minirun: Minirun, *arguments: str) -> subprocess.Popen[bytes]:
    process = minirun.start(*arguments)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    return process


@pytest.mark.parametrize(("number", "name", "code"), [(signal.SIGTERM, "TERM", 3), (signal.SIGINT, "INT", 4)])
def test_signals_reach_the_containers_first_process(
    minirun: Minirun, busybox_image: str, number: signal.Signals, name: str, code: int
) -> None:
    process = started(minirun, "run", "--rm", "--network=none", busybox_image, "sh", "-c", TRAPS)
    process.send_signal(signal.SIGUSR1)
    assert process.stdout is not None
    assert process.stdout.readline() == b"got USR1\n"
    process.send_signal(number)
    assert process.stdout.readline().decode() == f"got {name}\n"
    assert process.wait(10) == code


def test_without_sig_proxy_they_do_not(minirun: Minirun, busybox_image: str) -> None:
    process = started(
        minirun, "run", "--name=left", "--sig-proxy=false", "--network=none", busybox_image, "sh", "-c", TRAPS
    )
    process.send_signal(signal.SIGTERM)
    process.wait(10)
    assert minirun.inspect("left")["State"]["Running"] is True
    assert "got" not in minirun("logs", "left").stdout


def test_signals_of_attach(minirun: Minirun, busybox_image: str) -> None:
    script = "trap 'exit 3' TERM; while :; do echo up; sleep 0.05; done"
    minirun("run", "-d", "--name=back", "--network=none", busybox_image, "sh", "-c", script)
    attached = started(minirun, "attach", "back")
    attached.send_signal(signal.SIGTERM)
    attached.communicate(timeout=10)
    assert attached.returncode == 3
    minirun.wait_until("back", "State.ExitCode", 3)


def test_the_foreground_survives_being_stopped(minirun: Minirun, busybox_image: str) -> None:
    process = started(
        minirun, "run", "--rm", "--network=none", busybox_image, "sh", "-c", "echo up; sleep 0.3; seq 50000"
    )
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    process.send_signal(signal.SIGCONT)
    stdout, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert re.fullmatch(rb"(\d+\n){50000}", stdout)
