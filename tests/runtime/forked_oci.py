"""minirun-oci in a forked copy of the test's process, with a tracer of the test's own."""

from __future__ import annotations

import io
import os
import select
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from minirun.cli.oci.main import main
from minirun.kernel.trace import set_tracer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from minirun.kernel.trace import Answer, Event

PATIENCE_SECONDS = 60


def start(output: Path, before: Callable[[Event], Answer | None], *words: str | Path) -> int:
    """Run what the executable runs, with `before` called ahead of operations; return the pid. It prints to `output`."""
    child = os.fork()
    if child:
        return child
    try:
        # Undo what pytest has done to this process's streams and signals.
        null = os.open("/dev/null", os.O_RDWR)
        told = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for number, file in enumerate((null, told, told)):
            os.dup2(file, number)
        sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb"), write_through=True)
        sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb"), write_through=True)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        sys.argv = ["minirun-oci", *map(str, words)]
        set_tracer(lambda _: None, before)
        main()
    finally:
        os._exit(254)


def wait(child: int, output: Path, what: object = "") -> int:
    """Return the exit code of what `start` has started; fail the test, with `what` and its output, if it hangs."""
    pidfd = os.pidfd_open(child)
    try:
        if not select.select([pidfd], [], [], PATIENCE_SECONDS)[0]:
            os.kill(child, signal.SIGKILL)
            pytest.fail(f"it hangs {what}: {output.read_text()}")
    finally:
        os.close(pidfd)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status
