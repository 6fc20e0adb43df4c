"""Ctrl-C and other signals at any moment while a command starts: no traceback, and nothing left behind."""

from __future__ import annotations

import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.commands import Minirun
    from tests.support.leftovers import Leftovers
    from tests.support.oci_bundles import Bundle, Oci

MILLISECONDS = range(0, 300, 10)


def ended_by(number: int, after: float, command: list[str]) -> tuple[int, str]:
    """Run a command, send it a signal after some seconds, and return its status and what it wrote to standard error."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(after)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_interrupted(
    minirun: Minirun, busybox_image: str, leftovers: Leftovers, number: signal.Signals
) -> None:
    for offset in MILLISECONDS:
        command = [str(minirun.executable), "run", "--rm", "--init", busybox_image, "true"]
        code, errors = ended_by(number, offset / 1000, command)
        assert "Traceback" not in errors, f"{offset} ms\n{errors}"
        assert "Error" not in errors, f"{offset} ms\n{errors}"
        assert code in (0, -number, 128 + number), f"{offset} ms\n{errors}"
    minirun("ps")
    leftovers.check()


@pytest.mark.parametrize("words", [["ps", "-a"], ["--help"], ["images"]], ids=" ".join)
def test_other_commands(minirun: Minirun, words: list[str]) -> None:
    for offset in MILLISECONDS:
        code, errors = ended_by(signal.SIGINT, offset / 1000, [str(minirun.executable), *words])
        assert errors == "", f"{offset} ms"
        assert code in (0, -signal.SIGINT, 130), f"{offset} ms"


def test_the_oci_runtime(oci: Oci, bundle: Bundle, leftovers: Leftovers) -> None:
    oci.save(bundle, "true")
    for offset in MILLISECONDS:
        command = [*oci.command, "run", "--bundle", str(bundle.path), f"c{offset}"]
        code, errors = ended_by(signal.SIGINT, offset / 1000, command)
        assert "Traceback" not in errors, f"{offset} ms\n{errors}"
        assert code in (0, -signal.SIGINT, 130), f"{offset} ms\n{errors}"
    for container in oci.containers():
        oci("delete", "--force", container)
    leftovers.check()


def test_an_interrupt_that_the_caller_ignores(minirun: Minirun, busybox_image: str) -> None:
    """What a shell runs in the background is not ended by the Ctrl-C that ends what runs in the foreground."""
    run = [str(minirun.executable), "run", "--rm", "--network=none", busybox_image, "sh", "-c", "sleep 1; exit 7"]
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command inherits it
    try:
        for offset in (0, 30, 60, 90, 120, 600):  # at last the container runs, and would get it
            assert ended_by(signal.SIGINT, offset / 1000, run) == (7, ""), f"{offset} ms"
    finally:
        signal.signal(signal.SIGINT, handler)
