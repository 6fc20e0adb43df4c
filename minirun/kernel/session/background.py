"""Becoming a process that has nothing to do with the one that started it."""

from __future__ import annotations

import fcntl
import gc
import os
import signal

from minirun.kernel import trace
from minirun.kernel.path import change_directory
from minirun.kernel.process import close_range, fork, new_session, set_umask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def leave_the_caller(descriptors: Sequence[int]) -> None:
    """Let go of all that this process has inherited from its parent, as daemon(7) describes.

    That is the session, the parent, signals and their mask, the directory, the umask, the tracer and all descriptors.
    Those that are given then have the numbers from 3 on. Raises OSError.
    """
    new_session()
    if fork():
        os._exit(0)  # the parent is now process 1 (or the nearest subreaper), which reaps this process
    trace.set_tracer(None)
    trace.forget_steps()
    # An object that Python frees later might close a descriptor whose number then belongs to another file.
    gc.freeze()
    signal.set_wakeup_fd(-1)
    for each in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        try:
            signal.signal(each, signal.SIG_DFL)
        except OSError:
            continue  # the C library keeps two for itself
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a client that has gone is an error number
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    set_umask(0o077)
    change_directory("/")
    kept = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3 + len(descriptors)) for fd in descriptors]
    null = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    for number, fd in enumerate(kept, start=3):
        os.dup2(fd, number, inheritable=False)
    close_range(3 + len(descriptors), 0xFFFFFFFF)
