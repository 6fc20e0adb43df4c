"""The plan for native/init.c: who the command runs as, with which rights, behind which filter.

The layout is `struct plan` in init.c; change both together.
"""

from __future__ import annotations

import os
import struct

from minirun.errors import MinirunError
from minirun.model.capabilities import mask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.spec import Process
    from minirun.runtime.seccomp import Filter

_HEADER = struct.Struct("=II5QIIiiIIII")
_MAGIC = 0x6D72756E
_NO_NEW_PRIVILEGES, _REAPER = 1, 2
_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")


def pack_plan(
    process: Process,
    seccomp: Filter | None,
    *,
    start_fd: int = -1,
    trace_fd: int = -1,
    reaper: bool = False,
    preserve: int = 0,
) -> bytes:
    """Return the plan as bytes. Raises MinirunError for an unknown capability or a filter that is too long."""
    program = seccomp.program if seccomp else b""
    if len(program) // 8 > 0xFFFF:
        raise MinirunError("the seccomp filter has more instructions than the kernel takes")
    sets = process.capabilities
    # Without a word about capabilities the process has none (config.md, "Linux Process").
    masks = [mask(getattr(sets, name)) if sets else 0 for name in _SETS]
    # The kernel raises an ambient capability only if it is permitted and inheritable (capabilities(7)). Bundles that
    # list others are common (runc's own template is one) and mean: as far as that goes.
    masks[4] &= masks[2] & masks[3]
    header = _HEADER.pack(
        _MAGIC,
        (_NO_NEW_PRIVILEGES if process.no_new_privileges else 0) | (_REAPER if reaper else 0),
        *masks,
        process.uid,
        process.gid,
        start_fd,
        trace_fd,
        preserve,
        seccomp.flags if seccomp else 0,
        len(process.additional_gids),
        len(program) // 8,
    )
    return header + struct.pack(f"={len(process.additional_gids)}I", *process.additional_gids) + program


def plan_descriptor(plan: bytes) -> int:
    """Return a descriptor of an anonymous file that holds the plan and survives exec."""
    file = os.memfd_create("plan", 0)
    os.write(file, plan)
    return file
