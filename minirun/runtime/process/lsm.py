"""The labels of security modules, for a command that has one: AppArmor's profile and SELinux's context.

Both are written to a file of /proc/self/attr and hold from the next exec on. Only the process itself may write it, and
only after its last exec but one, so native/exec_stub.c does; here its directory is opened. A /proc that the image or a
mount has put something over would swallow the label (CVE-2019-19921, CVE-2025-52881), so it is opened on a procfs that
is mounted nowhere.
"""

from __future__ import annotations

import os

from minirun.errors import MinirunError
from minirun.kernel.files import read
from minirun.kernel.mount import new_file_system
from minirun.kernel.trace import step
from minirun.runtime.create.init_plan import Label

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.spec import Process


def check(process: Process) -> None:
    """Refuse a label whose module is not running, for it would protect nothing. Raises MinirunError."""
    if process.apparmor_profile and not apparmor_is_enabled():
        raise MinirunError(
            "config.json: process.apparmorProfile is set, but AppArmor is disabled or not supported on this host"
        )
    if process.selinux_label and not selinux_is_enabled():
        raise MinirunError(
            "config.json: process.selinuxLabel is set, but SELinux is disabled or not supported on this host"
        )


def apparmor_is_enabled() -> bool:
    """Say whether the kernel applies AppArmor profiles."""
    try:
        return read("/sys/module/apparmor/parameters/enabled").startswith("Y")
    except OSError:
        return False


def selinux_is_enabled() -> bool:
    """Say whether the kernel applies an SELinux policy."""
    return os.path.exists("/sys/fs/selinux/enforce")


def prepare(process: Process) -> tuple[Label, int]:
    """Return what to write for the next exec, and the directory /proc/self/attr as a descriptor."""
    label = _label_of(process)
    with step(f"open what takes the label '{label.text}'", "exec", "A fresh procfs has nothing mounted over it."):
        procfs = new_file_system("proc", {})
        directory = _open_attributes(process, "self/attr", procfs)
        os.close(procfs)
        return label, directory


def prepare_on_host(process: Process) -> tuple[Label, int]:
    """Do as `prepare` in a process that has not yet joined the container, and sees the host's own /proc."""
    label = _label_of(process)
    with step(
        f"open what takes the label '{label.text}'", "exec", "It is the host's /proc: the container's may be a fake."
    ):
        return label, _open_attributes(process, "/proc/self/attr", None)


def _label_of(process: Process) -> Label:
    if process.apparmor_profile:
        return Label("exec", f"exec {process.apparmor_profile}")
    return Label("exec", process.selinux_label)


def _open_attributes(process: Process, path: str, directory: int | None) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    if process.apparmor_profile:
        try:
            return os.open(f"{path}/apparmor", flags, dir_fd=directory)
        except FileNotFoundError:
            pass  # before Linux 5.1 all modules shared one directory
    return os.open(path, flags, dir_fd=directory)
