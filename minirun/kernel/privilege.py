"""What a process may do and who outlives whom: prctl(2), and the capability sets.

The final change of credentials is not here: it happens in `native/exec_stub.c`, after the last line of Python.
python-prctl takes 3 ms to import, so it serves the helpers, and two calls on the way of every container are made
without it.
"""

from __future__ import annotations

from minirun.kernel._native import ffi, lib
from minirun.kernel.process import check
from minirun.kernel.trace import operation
from minirun.model.capabilities import names


@operation(
    man="PR_SET_PDEATHSIG(2const)",
    shell="setpriv --pdeathsig {number} ...",
    number=lambda number: str(number) if number else "clear",
)
def set_parent_death_signal(number: int) -> None:
    """Have the kernel send signal `number` to this process when the thread that forked it ends; 0 switches it off.

    A parent that ended before the call is missed: compare getppid(2) afterwards. A fork, and an exec that changes
    credentials, clear it.
    """
    check(lib.minirun_prctl(lib.PR_SET_PDEATHSIG, number, 0, 0, 0), "PR_SET_PDEATHSIG")


@operation(man="PR_SET_DUMPABLE(2const)")
def forbid_tracing() -> None:
    """Let only those who may trace the host's root trace this process or read its /proc/PID (CVE-2016-9962).

    The next exec allows it again.
    """
    check(lib.minirun_prctl(lib.PR_SET_DUMPABLE, 0, 0, 0, 0), "PR_SET_DUMPABLE")


@operation(man="PR_SET_NAME(2const)")
def become_helper(title: str) -> None:
    """Make a process that was forked off a command a helper of its own: another name, and no way to more rights.

    The title takes the place of the command's arguments in /proc/PID/cmdline, which everybody can read and which may
    hold secrets (`run -e PASSWORD=...`). `no_new_privs` cannot be undone, and children inherit it.
    """
    import prctl

    prctl.set_name(title)
    prctl.set_proctitle(title)
    prctl.set_no_new_privs(1)


@operation(
    man="capabilities(7)",
    shell="grep -E 'Cap(Prm|Bnd)' /proc/self/status",
    returns=lambda found: f"{len(found)} of them",
)
def available_capabilities() -> frozenset[str]:
    """Return the capabilities that this process can pass on: those both permitted to it and in its bounding set."""
    mask = ffi.new("uint64_t *")
    check(lib.minirun_available_capabilities(mask), "capabilities")
    return frozenset(names(mask[0]))
