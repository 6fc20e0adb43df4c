"""Raw mode, on terminals of the tests' own."""

from __future__ import annotations

import fcntl
import os
import signal
import termios

from minirun.kernel.session.terminal import make_raw, restore


def shell_with_a_background_job(terminal: int) -> int:
    """Act as a shell: start a background job, which is stopped as it sets raw mode, and bring it to the foreground."""
    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    job = os.fork()
    if job == 0:
        os.setpgid(0, 0)
        make_raw(terminal)
        os._exit(0)
    assert os.WIFSTOPPED(os.waitpid(job, os.WUNTRACED)[1])
    os.tcsetpgrp(terminal, job)
    os.killpg(job, signal.SIGCONT)
    return os.waitstatus_to_exitcode(os.waitpid(job, 0)[1])


def test_raw_mode_of_a_job_that_comes_to_the_foreground() -> None:
    _controller, terminal = os.openpty()
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(shell_with_a_background_job(terminal))
        finally:
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not termios.tcgetattr(terminal)[3] & termios.ICANON


def test_raw_mode_is_taken_back() -> None:
    controller, terminal = os.openpty()
    before = make_raw(terminal)
    assert termios.tcgetattr(terminal) != before
    restore(terminal, before)
    assert termios.tcgetattr(terminal) == before
    os.close(controller)
    restore(terminal, before)  # hung up: nothing to do
