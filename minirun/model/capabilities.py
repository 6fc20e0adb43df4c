"""Capabilities: the pieces into which root's power is divided, their numbers and their masks (capabilities(7)).

The kernel keeps each of a thread's five sets as a bit mask: bit n stands for capability n. The numbers are those of
`linux/capability.h` and never change.
"""

from __future__ import annotations

from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

NAMES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
"""Every capability that Linux 6.18 has, at the index that is its number."""

_NUMBERS = {name: number for number, name in enumerate(NAMES)}


def mask(names: Iterable[str]) -> int:
    """Return the 64-bit mask in which the bit of each named capability ("CAP_CHOWN") is set.

    Raises MinirunError for an unknown name.
    """
    bits = 0
    for name in names:
        if name not in _NUMBERS:
            raise MinirunError(f'invalid capability: "{name}"')
        bits |= 1 << _NUMBERS[name]
    return bits


def names(mask: int) -> tuple[str, ...]:
    """Return the names whose bits are set in `mask`, lowest number first.

    Bits without a name belong to a newer kernel than this table; they are left out.
    """
    return tuple(name for number, name in enumerate(NAMES) if mask >> number & 1)
