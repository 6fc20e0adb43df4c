"""What a tracer may do before an operation of a container that minirun-oci runs: wait, or answer in the kernel's place.

The third, raising an error, has a file of its own: test_oci_faults.py.
"""

from __future__ import annotations

import os
import select
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from forked_oci import PATIENCE_SECONDS, start, wait
from support.host import descendants

from minirun.kernel.trace import Answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.oci_bundles import Bundle, Oci

    from minirun.kernel.trace import Event


class Stepper:
    """A tracer's `before` that waits before some operations of the container's process until `step` is called."""

    def __init__(self, *operations: str) -> None:
        self._operations = operations
        self._asked, self._ask = os.pipe()
        self._go, self._let_go = os.pipe()

    def __call__(self, event: Event) -> None:
        if event.process == "container" and event.operation in self._operations:
            os.write(self._ask, event.operation.encode())
            os.read(self._go, 1)

    def reach(self, operation: str) -> None:
        """Wait until this operation is about to be asked for."""
        if not select.select([self._asked], [], [], PATIENCE_SECONDS)[0]:
            pytest.fail(f"the container's process does not come to {operation}")
        assert os.read(self._asked, 4096).decode() == operation

    def step(self) -> None:
        """Let the process go on."""
        os.write(self._let_go, b"!")

    def close(self) -> None:
        for end in (self._asked, self._ask, self._go, self._let_go):
            os.close(end)


def container_process() -> int:
    """Return the descendant of this process that is process 1 of a PID namespace of its own."""
    for pid in descendants():
        status = Path(f"/proc/{pid}/status").read_text()
        numbers = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
        if len(numbers) > 1 and numbers[-1] == "1":
            return int(pid)
    pytest.fail("there is no such process")


def host_name_of(pid: int) -> str:
    command = ["nsenter", "--target", str(pid), "--uts", "uname", "--nodename"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def run(oci: Oci, bundle: Bundle, output: Path, before: Callable[[Event], Answer | None], script: str) -> int:
    """Start minirun-oci with a tracer, and return its pid."""
    bundle.config["hostname"] = "stepped"
    oci.save(bundle, script)
    return start(output, before, "--root", oci.root, "run", "--bundle", bundle.path, oci.new_id())


def test_a_tracer_may_stop_a_container_at_each_step(oci: Oci, bundle: Bundle, tmp_path: Path) -> None:
    """While it waits, the kernel has not been asked: the host's name and root are there until it goes on."""
    output = tmp_path / "output"
    stepper = Stepper("set_hostname", "pivot_root", "unmount_lazily")
    child = run(oci, bundle, output, stepper, "uname -n")
    rootfs, host = os.stat(bundle.path / "rootfs").st_ino, os.stat("/").st_ino

    stepper.reach("set_hostname")
    pid = container_process()
    assert host_name_of(pid) == os.uname().nodename
    stepper.step()
    stepper.reach("pivot_root")
    assert host_name_of(pid) == "stepped"
    assert os.stat(f"/proc/{pid}/root/").st_ino == host
    stepper.step()
    stepper.reach("unmount_lazily")
    assert os.stat(f"/proc/{pid}/root/").st_ino == rootfs
    assert output.read_text() == ""
    stepper.step()

    assert (wait(child, output), output.read_text()) == (0, "stepped\n")
    stepper.close()
    assert oci.containers() == []


def test_a_tracer_may_answer_in_the_kernels_place(oci: Oci, bundle: Bundle, tmp_path: Path) -> None:
    """The container comes up without what was only answered: no name of its own, nothing masked."""

    def before(event: Event) -> Answer | None:
        masks = any(title.startswith("mask what") for title, _, _ in event.steps) and event.operation == "attach_tree"
        return Answer(None) if masks or event.operation == "set_hostname" else None

    output = tmp_path / "output"
    child = run(oci, bundle, output, before, "uname -n; cut -d' ' -f5 /proc/self/mountinfo")
    assert wait(child, output) == 0
    name, *mounts = output.read_text().splitlines()
    assert name == os.uname().nodename
    assert "/proc" in mounts
    assert "/proc/timer_list" not in mounts

    child = run(oci, bundle, output, lambda _: None, "uname -n; cut -d' ' -f5 /proc/self/mountinfo")
    assert wait(child, output) == 0
    name, *mounts = output.read_text().splitlines()
    assert name == "stepped"
    assert "/proc/timer_list" in mounts
    assert oci.containers() == []
