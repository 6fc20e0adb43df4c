"""Builds that are cut off: nothing is left but what the cache keeps, and the next build succeeds."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.eventually import eventually

if TYPE_CHECKING:
    from .conftest import Builder

DOCKERFILE = "FROM busybox AS a\nRUN echo a > /a\nRUN echo started; exec sleep 1007\nFROM busybox\nCOPY --from=a /a /\n"


def start(builder: Builder) -> subprocess.Popen[bytes]:
    """Start a build, and wait until its step sleeps."""
    builder.write({"Dockerfile": DOCKERFILE})
    process = builder.minirun.start("build", "--progress=plain", builder.context, own_group=True)
    assert process.stderr
    while line := process.stderr.readline():
        if line.endswith(b" started\n"):
            return process
    raise AssertionError(f"it has ended with {process.wait()}")


def sleeps() -> bool:
    """Say whether a step's command runs."""
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if Path("/proc", pid, "cmdline").read_bytes() == b"sleep\x001007\x00":
                return True
        except OSError:
            continue
    return False


@pytest.mark.parametrize("times", [1, 3])
def test_ctrl_c_ends_the_step(builder: Builder, times: int) -> None:
    process = start(builder)
    for _ in range(times):
        os.killpg(process.pid, signal.SIGINT)
    assert process.wait(20) == 130
    assert not sleeps()
    assert builder.cached("FROM busybox\nRUN echo a > /a\n") == [True], "what was done before is kept"


def test_a_build_that_is_killed_is_cleaned_up_by_the_next_command(builder: Builder) -> None:
    process = start(builder)
    assert sleeps()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    builder.minirun("ps")
    eventually(lambda: not sleeps())
    assert builder.minirun("ps", "-aq").stdout == ""
    assert builder.cached("FROM busybox\nRUN echo a > /a\n") == [True]


def test_a_step_that_leaves_processes_behind_ends(builder: Builder) -> None:
    builder("FROM busybox\nRUN sleep 1007 & echo x > /x\n")
    assert not sleeps()
    assert builder.run("cat", "/x") == "x\n"


def test_containers_of_steps_are_seen_by_nobody(builder: Builder) -> None:
    process = start(builder)
    assert builder.minirun("ps", "-aq").stdout == ""
    assert builder.minirun("container", "prune", "-f").stdout == "Total reclaimed space: 0B\n"
    assert sleeps()
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(20)
    eventually(lambda: not sleeps())
