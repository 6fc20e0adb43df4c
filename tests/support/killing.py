"""A process that kills itself at a chosen call, to see what is left of what it did."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Container


def killed_at(point: int, calls: Container[str], act: Callable[[], object]) -> bool:
    """Do something in a process that kills itself before its call number `point`; say whether it got there.

    `calls` are those that count, as Python reports them to audit hooks (sys.addaudithook).
    """
    pid = os.fork()
    if pid == 0:
        left = point

        def count(event: str, _: object) -> None:
            nonlocal left
            if event in calls:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(count)
            act()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])
