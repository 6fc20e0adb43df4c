"""Tests of tracers: what they hear of an operation, and what they may do before the kernel is asked."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from minirun.errors import MinirunError
from minirun.kernel import trace
from minirun.kernel.files import make_directory, make_fifo, remove_directory, write
from minirun.kernel.trace import Answer, Event, step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def told() -> Iterator[list[Event]]:
    """Return what the test's tracer is told; afterwards no tracer is set."""
    yield []
    trace.set_tracer(None)


def test_an_operation_is_told_before_and_after(told: list[Event], tmp_path: Path) -> None:
    asked: list[tuple[Event, bool]] = []

    def before(event: Event) -> None:
        asked.append((event, os.path.exists(tmp_path / "new")))

    trace.set_tracer(told.append, before)
    with step("make a directory", "mounts", "Why not."):
        make_directory(str(tmp_path / "new"))
    ((event, existed),) = asked
    assert not existed
    assert (event.operation, event.arguments["path"], event.error) == ("make_directory", str(tmp_path / "new"), "")
    assert event.steps == (("make a directory", "mounts", "Why not."),)
    assert event.duration_ns == 0
    assert [one.replace(started_ns=event.started_ns, duration_ns=0) for one in told] == [event]
    assert told[0].started_ns >= event.started_ns


def test_a_tracer_may_wait(told: list[Event], tmp_path: Path) -> None:
    """Single-stepping: the kernel is asked only when the tracer returns, and waiting is not the operation's time."""
    ask_r, ask_w = os.pipe()
    go_r, go_w = os.pipe()

    def before(_: Event) -> None:
        os.write(ask_w, b"?")
        os.read(go_r, 1)

    child = os.fork()
    if child == 0:
        try:
            trace.set_tracer(told.append, before)
            make_directory(str(tmp_path / "new"))
            os._exit(told[0].started_ns < int((tmp_path / "released").read_text()))
        finally:
            os._exit(2)
    assert os.read(ask_r, 1) == b"?"
    assert not (tmp_path / "new").exists()
    (tmp_path / "released").write_text(str(trace.monotonic_ns()))
    os.write(go_w, b"!")
    assert os.waitpid(child, 0)[1] == 0
    assert (tmp_path / "new").is_dir()
    for end in (ask_r, ask_w, go_r, go_w):
        os.close(end)


def test_a_tracer_may_answer(told: list[Event], tmp_path: Path) -> None:
    """A dry run: the operation returns the answer, is reported with it, and the kernel has not been asked."""
    trace.set_tracer(told.append, lambda event: Answer(7) if event.operation == "make_fifo" else Answer(None))
    make_directory(str(tmp_path / "new"))
    assert make_fifo(str(tmp_path / "fifo")) == 7
    assert list(tmp_path.iterdir()) == []
    assert [(one.operation, one.result, one.error) for one in told] == [
        ("make_directory", "", ""),
        ("make_fifo", "7", ""),
    ]


@pytest.mark.parametrize("number", [errno.EIO, errno.EPERM, errno.ENOSPC])
def test_a_tracer_may_raise_an_errno(told: list[Event], tmp_path: Path, number: int) -> None:
    """A fault: the operation fails as if the kernel had said so, in the usual words, and nothing has happened."""

    def fail(_: Event) -> None:
        raise OSError(number, os.strerror(number))

    trace.set_tracer(told.append, fail)
    with (
        pytest.raises(MinirunError, match=f"^cannot make the directory: {os.strerror(number).lower()}$") as refused,
        step("make the directory"),
    ):
        make_directory(str(tmp_path / "new"))
    assert isinstance(refused.value.__cause__, OSError)
    assert list(tmp_path.iterdir()) == []
    assert [(one.operation, one.error, one.result) for one in told] == [("make_directory", errno.errorcode[number], "")]


@pytest.mark.parametrize("power", ["listen", "answer", "raise"])
def test_forked_children_have_the_same_tracer(told: list[Event], tmp_path: Path, power: str) -> None:
    def before(_: Event) -> Answer | None:
        if power == "raise":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return Answer(None) if power == "answer" else None

    trace.set_tracer(told.append, before)
    child = os.fork()
    if child == 0:
        try:
            make_directory(str(tmp_path / "new"))
            os._exit(100 + len(told))
        except OSError as error:
            os._exit(error.errno or 255)
        finally:
            os._exit(2)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == (errno.EIO if power == "raise" else 101)
    assert (tmp_path / "new").exists() == (power == "listen")
    assert told == []


def test_without_a_tracer_nobody_is_asked(told: list[Event], tmp_path: Path) -> None:
    trace.set_tracer(told.append, lambda _: Answer(None))
    trace.set_tracer(None, lambda _: Answer(None))
    make_directory(str(tmp_path / "new"))
    assert told == []
    assert (tmp_path / "new").is_dir()


def test_what_the_kernel_refuses_is_told(told: list[Event], tmp_path: Path) -> None:
    asked: list[str] = []
    trace.set_tracer(told.append, lambda event: asked.append(event.operation))
    with pytest.raises(FileNotFoundError):
        remove_directory(str(tmp_path / "missing"))
    with pytest.raises(FileNotFoundError):
        write(str(tmp_path / "missing"), "x")
    assert asked == ["remove_directory", "write"]
    assert [(one.operation, one.error) for one in told] == [("remove_directory", "ENOENT"), ("write", "ENOENT")]


# Prints what a process that executes another program hears: before, then (in the second case only) after.
EXEC = """
import json, os, sys
from minirun.kernel.process import exec_file_descriptor
from minirun.kernel.trace import set_tracer

def teller(when):
    return lambda event: os.write(1, json.dumps([when, event.operation, event.error]).encode() + b"\\n") and None

set_tracer(teller("after"), teller("before"))
program = os.open(sys.argv[1], os.O_RDONLY | os.O_CLOEXEC)
try:
    exec_file_descriptor(program, ["echo", '"the program"'], [])
except OSError:
    pass
"""


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("/bin/echo", [["before", "exec_file_descriptor", ""], "the program"]),
        ("/etc/passwd", [["before", "exec_file_descriptor", ""], ["after", "exec_file_descriptor", "EACCES"]]),
    ],
)
def test_an_exec_is_never_told_as_done(program: str, expected: list[object]) -> None:
    command = [sys.executable, "-c", EXEC, program]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert [json.loads(line) for line in output.splitlines()] == expected


# The same with a tracer that sends: the outcome of an exec is known from the other end of a pipe.
TOLD = """
import os, sys
from minirun.explain.printer import Printer
from minirun.kernel.process import execute

printer = Printer.start("json")
try:
    execute(sys.argv[1], ["echo"])
except OSError:
    printer.finish()
"""


@pytest.mark.parametrize(
    ("program", "expected"), [("/bin/echo", ""), ("/missing", "ENOENT"), ("/etc/passwd", "EACCES")]
)
def test_an_exec_is_told_once_with_its_outcome(program: str, expected: str) -> None:
    done = subprocess.run([sys.executable, "-c", TOLD, program], check=True, capture_output=True, text=True)
    [event] = [json.loads(line) for line in done.stderr.splitlines()]
    assert (event["operation"], event["error"]) == ("execute", expected)
    assert event["duration_ns"] > 0


# Runs in namespaces of its own, and uses the three powers for what they are meant for: operations that change the
# machine.
MOUNTS = """
import errno, os, sys
from minirun.kernel.mount import MS_NODEV, mount, unmount_lazily
from minirun.kernel.process import NAMESPACE_FLAGS, clone3, set_hostname, unshare
from minirun.kernel.trace import Answer, set_tracer

def here():
    return any(line.split()[4] == place for line in open("/proc/self/mountinfo"))

def fail(event):
    raise OSError(errno.EIO, os.strerror(errno.EIO))

place = sys.argv[1]
unshare(NAMESPACE_FLAGS["mount"] | NAMESPACE_FLAGS["uts"])
mount("", "/", "", 1 << 14 | 1 << 18)  # MS_REC | MS_PRIVATE
told = []

set_tracer(told.append, lambda event: Answer(None))
mount("none", place, "tmpfs", MS_NODEV)
set_hostname("dry")
assert not here() and os.uname().nodename != "dry"
set_tracer(told.append, lambda event: Answer((4321, 99)))
assert clone3(NAMESPACE_FLAGS["pid"]) == (4321, 99)
assert [(one.operation, one.result) for one in told] == [("mount", ""), ("set_hostname", ""), ("clone3", "4321")]

told.clear()
set_tracer(told.append, fail)
for attempt in (lambda: mount("none", place, "tmpfs"), lambda: clone3(0), lambda: set_hostname("fault")):
    try:
        attempt()
    except OSError as error:
        assert error.errno == errno.EIO
    else:
        raise AssertionError("it did not fail")
assert not here() and os.uname().nodename != "fault"
assert [(one.operation, one.error) for one in told] == [(n, "EIO") for n in ("mount", "clone3", "set_hostname")]

told.clear()
waited = []
set_tracer(told.append, lambda event: waited.append((event.operation, here())))
mount("none", place, "tmpfs", MS_NODEV)
unmount_lazily(place)
pid, _ = clone3(NAMESPACE_FLAGS["pid"])
if pid == 0:
    os._exit(len(told))  # the parent tells it
assert os.waitpid(pid, 0)[1] >> 8 == 2, "told in the child, too"
assert waited == [("mount", False), ("unmount_lazily", True), ("clone3", False)]
assert [one.operation for one in told] == ["mount", "unmount_lazily", "clone3"]
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
def test_the_powers_hold_for_what_changes_the_machine(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MOUNTS, str(tmp_path)], check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
