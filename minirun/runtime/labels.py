"""The labels of security modules: AppArmor's profile and SELinux's context of the command.

Both are written to a file of /proc/self/attr and hold from the next exec on. Only the process itself may write it, and
only after its last exec but one, so native/init.c does; here its folder is opened. A /proc that the image or a mount
has put something over would swallow the label (CVE-2019-19921, CVE-2025-52881), so it is opened on a procfs that is
mounted nowhere.
"""

from __future__ import annotations

import os

from minirun.errors import MinirunError
from minirun.kernel.files import read
from minirun.kernel.mount import new_file_system
from minirun.kernel.trace import step
from minirun.runtime.credentials import Label

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
    """Return what to write for the next exec, and the folder /proc/self/attr as a descriptor, or -1 without a label."""
    if process.apparmor_profile:
        label = Label("exec", f"exec {process.apparmor_profile}")
    elif process.selinux_label:
        label = Label("exec", process.selinux_label)
    else:
        return Label(), -1
    with step(f"open what takes the label '{label.text}'", "exec", "A fresh procfs has nothing mounted over it."):
        procfs = new_file_system("proc", {})
        folder = os.open("self/attr", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=procfs)
        if process.apparmor_profile:
            try:
                own = os.open("apparmor", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
            except FileNotFoundError:
                pass  # before Linux 5.1 all modules shared one folder
            else:
                os.close(folder)
                folder = own
        os.close(procfs)
        return label, folder
