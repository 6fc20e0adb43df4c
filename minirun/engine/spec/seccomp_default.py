"""The default system call filter: what a container may ask of the kernel, and why it may not ask for the rest.

Namespaces give a container its own view of the machine, capabilities cut root's power down, and a filter makes the
kernel itself smaller: of some 370 system calls about 60 cannot even be tried. Each of those is code in which a mistake
could give the host away, and hardly any program in a container needs it.

It is an allow list. What no group names is refused, so a system call of a future kernel is refused until somebody has
thought about it. The answers are:

- EPERM, "not permitted", for what is known and refused;
- ENOSYS, "no such system call", for numbers above every one named here, as an older kernel would answer, so that C
  libraries fall back to what they used before (`minirun.kernel.seccomp` says how).

It refuses what Docker's default filter refuses. The groups and their reasons are in seccomp_groups.py.
"""

from __future__ import annotations

from minirun.engine.spec.seccomp_groups import (
    ADDRESS_FAMILIES_ABOVE_ALG,
    AF_ALG,
    ALLOWED,
    CLONE_NEW_NAMESPACE,
    PERSONALITIES,
    REFUSED,
    SUB_ARCHITECTURES,
    WITH_CAPABILITY,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minirun.engine.spec.seccomp_groups import Group

EPERM, ENOSYS = 1, 38


def default_profile(capabilities: frozenset[str], architecture: str) -> dict[str, Any]:
    """Return the default filter as an OCI `linux.seccomp` object (runtime-spec config-linux.md, "Seccomp").

    `capabilities` is the container's bounding set ("CAP_SYS_ADMIN"); `architecture` is Docker's name for the machine's
    ("amd64"); if it is not known here, only programs of the native architecture can run.
    """
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": list(SUB_ARCHITECTURES.get(architecture, ())),
        "syscalls": [
            *(_allow(group.names) for group in ALLOWED if _is_for(group, architecture)),
            *(_allow(group.names) for group in WITH_CAPABILITY if capabilities.intersection(group.capabilities)),
            *_clone(capabilities, architecture),
            *(_allow(["personality"], _argument(0, "SCMP_CMP_EQ", value)) for value in PERSONALITIES),
            _allow(["socket"], _argument(0, "SCMP_CMP_LT", AF_ALG)),
            *(_allow(["socket"], _argument(0, "SCMP_CMP_EQ", family)) for family in ADDRESS_FAMILIES_ABOVE_ALG),
            *(_refuse(group.names, EPERM) for group in refused_groups(capabilities)),
        ],
    }


def refused_groups(capabilities: frozenset[str]) -> list[Group]:
    """Return the groups that a container with these capabilities is refused: for the filter, and for who asks why."""
    return [*(group for group in WITH_CAPABILITY if not capabilities.intersection(group.capabilities)), *REFUSED]


def _clone(capabilities: frozenset[str], architecture: str) -> list[dict[str, Any]]:
    if "CAP_SYS_ADMIN" in capabilities:
        return [_allow(["clone", "clone3"])]
    flags_at = 1 if architecture == "s390x" else 0
    return [
        _allow(["clone"], _argument(flags_at, "SCMP_CMP_MASKED_EQ", CLONE_NEW_NAMESPACE)),
        # Its flags are behind a pointer. glibc falls back to clone when it hears that there is no clone3.
        _refuse(["clone3"], ENOSYS),
    ]


def _is_for(group: Group, architecture: str) -> bool:
    return not group.architectures or architecture in group.architectures


def _allow(names: list[str], *arguments: dict[str, Any]) -> dict[str, Any]:
    rule: dict[str, Any] = {"names": names, "action": "SCMP_ACT_ALLOW"}
    return rule | {"args": list(arguments)} if arguments else rule


def _refuse(names: list[str], error: int) -> dict[str, Any]:
    return {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": error}


def _argument(index: int, operator: str, value: int) -> dict[str, Any]:
    """Return a condition; for SCMP_CMP_MASKED_EQ it is that no bit of `value` is set."""
    return {"index": index, "value": value, "valueTwo": 0, "op": operator}
