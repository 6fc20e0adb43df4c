"""What a process may do and who outlives whom: prctl(2), and the capability sets.

The final change of credentials is not here: it happens in `native/init.c`, after the last line of Python.
"""

from __future__ import annotations

from minirun.kernel._native import lib
from minirun.kernel.process import check
from minirun.kernel.trace import operation
from minirun.model.capabilities import names


@operation(man="PR_SET_NO_NEW_PRIVS(2const)", shell="setpriv --no-new-privs ...")
def set_no_new_privileges() -> None:
    """Let no later exec grant this process more than it has now: set-user-id bits and file capabilities are ignored.

    It cannot be undone, and children inherit it (Documentation/userspace-api/no_new_privs.rst).
    """
    check(lib.minirun_prctl(lib.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS")


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
    """Let nobody trace this process or look into it by /proc/PID, but who may trace the host's root (CVE-2016-9962).

    The next exec allows it again.
    """
    check(lib.minirun_prctl(lib.PR_SET_DUMPABLE, 0, 0, 0, 0), "PR_SET_DUMPABLE")


@operation(man="PR_SET_CHILD_SUBREAPER(2const)")
def set_child_subreaper() -> None:
    """Become the parent of every orphan below this process, as PID 1 is for the rest of the system."""
    check(lib.minirun_prctl(lib.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "PR_SET_CHILD_SUBREAPER")


@operation(
    man="capabilities(7)",
    shell="grep -E 'Cap(Prm|Bnd)' /proc/self/status",
    returns=lambda found: f"{len(found)} of them",
)
def available_capabilities() -> frozenset[str]:
    """Return the capabilities that this process can pass on: those both permitted to it and in its bounding set.

    Raises OSError where /proc is not mounted.
    """
    sets = {}
    with open("/proc/self/status", "rb") as status:
        for line in status:
            field, _, value = line.partition(b":")
            if field in (b"CapPrm", b"CapBnd"):
                sets[field] = int(value, 16)
    return frozenset(names(sets[b"CapPrm"] & sets[b"CapBnd"]))
