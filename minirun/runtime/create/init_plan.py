"""The plan for native/exec_stub.c: the command's user, rights, filter and hooks.

The layout is `struct plan` in native/exec_stub.h; change both together.
"""

from __future__ import annotations

import os
import struct

from minirun.errors import MinirunError
from minirun.model.capabilities import mask
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.spec import Capabilities, Hook, Process
    from minirun.runtime.seccomp.cache import Filter

_HEADER = struct.Struct("=II5QII7iIIIIIII")
_HOOK = struct.Struct("=III")
_MAGIC = 0x6D72756E
_NO_NEW_PRIVILEGES, _REAPER, _KEEP_GROUPS, _TERMINAL, _TELL = 1, 2, 4, 8, 16
_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")


class Inherited(Record):
    """The descriptors that native/exec_stub.c inherits; -1 stands for none.

    `channel` leads to minirun, `start` is the fifo to wait on, `trace` takes events, `attribute` is /proc/self/attr,
    `state` holds the container's state for hooks. For a process that joins, `birth` is the file for its pid and `gate`
    the pipe to wait on for its priorities.
    """

    channel: int = -1
    start: int = -1
    trace: int = -1
    attribute: int = -1
    state: int = -1
    birth: int = -1
    gate: int = -1


class Label(Record):
    """What a security module is told for the next exec: the file of /proc/self/attr, and its text."""

    file: str = ""
    text: str = ""


def pack_plan(
    process: Process,
    seccomp: Filter | None,
    descriptors: Inherited,
    *,
    hooks: tuple[Hook, ...] = (),
    label: Label = Label(),  # noqa: B008 - a frozen value
    reaper: bool = False,
    keep_groups: bool = False,
    tell: bool = False,
    preserve: int = 0,
) -> bytes:
    """Return the plan as bytes. Raises MinirunError for an unknown capability or a filter that is too long.

    `hooks` are those of startContainer; with `tell` events go over the channel; `preserve` is how many descriptors
    after 2 the command inherits.
    """
    program = seccomp.program if seccomp else b""
    if len(program) // 8 > 0xFFFF:
        raise MinirunError("the seccomp filter has more instructions than the kernel takes")
    sets = process.capabilities
    # Without the field `capabilities` the process has none (config.md, "Linux Process").
    masks = [mask(getattr(sets, name)) if sets else 0 for name in _SETS]
    # The kernel raises an ambient capability only if it is permitted and inheritable (capabilities(7)). Bundles that
    # list others, too, are common; those are left out.
    masks[4] &= masks[2] & masks[3]
    flags = (
        (_NO_NEW_PRIVILEGES if process.no_new_privileges else 0)
        | (_REAPER if reaper else 0)
        | (_KEEP_GROUPS if keep_groups else 0)
        | (_TERMINAL if process.terminal else 0)
        | (_TELL if tell else 0)
    )
    strings = [label.file, label.text]
    for hook in hooks:
        strings += [hook.path, *(hook.args or (hook.path,)), *hook.env]
    text = b"".join(os.fsencode(string) + b"\0" for string in strings)
    header = _HEADER.pack(
        _MAGIC,
        flags,
        *masks,
        process.uid,
        process.gid,
        descriptors.channel,
        descriptors.start,
        descriptors.trace,
        descriptors.attribute,
        descriptors.state,
        descriptors.birth,
        descriptors.gate,
        preserve,
        seccomp.flags if seccomp else 0,
        len(process.additional_gids),
        len(program) // 8,
        len(hooks),
        len(text),
        0,
    )
    groups = struct.pack(f"={len(process.additional_gids)}I", *process.additional_gids)
    heads = b"".join(_HOOK.pack(hook.timeout, len(hook.args) or 1, len(hook.env)) for hook in hooks)
    return header + groups + program + heads + text


def grantable_capabilities(sets: Capabilities, available: frozenset[str]) -> tuple[Capabilities, tuple[str, ...]]:
    """Return the sets without the names that are not `available`, and those names.

    A capability that is unknown, or that the caller lacks, is no reason to refuse a container (config.md, "Linux
    Process"): the command just does not get it.
    """
    missing = {name: None for kind in _SETS for name in getattr(sets, kind) if name not in available}
    if not missing:
        return sets, ()
    kept = {kind: tuple(name for name in getattr(sets, kind) if name not in missing) for kind in _SETS}
    return sets.replace(**kept), tuple(missing)
