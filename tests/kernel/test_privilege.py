"""What prctl(2) was asked for, as the kernel shows it."""

from __future__ import annotations

import os
import signal
import time

import prctl

from minirun.kernel.privilege import become_helper, set_parent_death_signal


def status_field(name: str) -> str:
    with open("/proc/self/status", encoding="utf-8") as status:
        return next(line.split()[1] for line in status if line.startswith(f"{name}:"))


def test_a_helper_has_another_title_and_no_way_to_more_rights() -> None:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        become_helper("minirun-helper")
        if os.fork() == 0:
            with open("/proc/self/cmdline", "rb") as line, open("/proc/self/comm", "rb") as name:
                os.write(writing, line.read().rstrip(b"\0") + b" " + name.read() + status_field("NoNewPrivs").encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert pipe.read() == b"minirun-helper minirun-helper\n1"
    assert status_field("NoNewPrivs") == "0"


def test_a_child_dies_with_its_parent_and_a_subreaper_hears_of_it() -> None:
    """Below one subreaper: a parent forks a child that asks for SIGUSR1 at its parent's death, and ends."""
    subreaper = os.fork()
    if subreaper == 0:
        prctl.set_child_subreaper(1)
        ready_reading, ready_writing = os.pipe()
        parent = os.fork()
        if parent == 0:
            if os.fork() == 0:
                set_parent_death_signal(signal.SIGUSR1)
                os.write(ready_writing, b"x")
                time.sleep(60)
            else:
                os.read(ready_reading, 1)
            os._exit(0)
        os.waitpid(parent, 0)
        _, status = os.waitpid(-1, 0)  # the orphan is this process's child now
        os._exit(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 255)
    _, status = os.waitpid(subreaper, 0)
    assert os.waitstatus_to_exitcode(status) == signal.SIGUSR1
