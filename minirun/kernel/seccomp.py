"""System call filters: rules in, a program for the kernel's filter machine out, by libseccomp.

seccomp(2) takes a program of the classic BPF machine that once filtered network packets; here its packet is `struct
seccomp_data`: the system call's number, the architecture and six arguments. libseccomp knows every architecture's
system call numbers and turns rules into a program that decides by binary search.

This module is imported only to compile: what a profile says and how programs are kept for the next time is in
`minirun.runtime.seccomp.cache`.
"""

from __future__ import annotations

import errno
import os
import struct

from minirun.kernel._seccomp import ffi, lib
from minirun.kernel.trace import operation
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    _Instruction = tuple[int, int, int, int]  # struct sock_filter: code, jump if true, jump if false, constant

# System calls that libseccomp may not know yet, up to Linux 6.18: 2.5.4 knows those of Linux 5.17. Where it does know
# one, its number is used. Since Linux 5.0 a new system call has the same number on every architecture.
NEW_SYSCALLS = {
    "cachestat": 451,
    "fchmodat2": 452,
    "map_shadow_stack": 453,
    "futex_wake": 454,
    "futex_wait": 455,
    "futex_requeue": 456,
    "statmount": 457,
    "listmount": 458,
    "lsm_get_self_attr": 459,
    "lsm_set_self_attr": 460,
    "lsm_list_modules": 461,
    "mseal": 462,
    "setxattrat": 463,
    "getxattrat": 464,
    "listxattrat": 465,
    "removexattrat": 466,
    "open_tree_attr": 467,
    "file_getattr": 468,
    "file_setattr": 469,
}
# These two are x86-64's alone and sit in a gap of its old numbers: the kernel's own probes make them, not a program.
NEW_X86_64_SYSCALLS = {"uretprobe": 335, "uprobe": 336}

# Where an architecture's numbers do not begin at zero (asm/unistd.h).
_FIRST_NUMBER: dict[int, int] = {
    lib.SCMP_ARCH_X32: 0x40000000,
    lib.SCMP_ARCH_MIPS: 4000,
    lib.SCMP_ARCH_MIPSEL: 4000,
    lib.SCMP_ARCH_MIPS64: 5000,
    lib.SCMP_ARCH_MIPSEL64: 5000,
    lib.SCMP_ARCH_MIPS64N32: 6000,
    lib.SCMP_ARCH_MIPSEL64N32: 6000,
}

# What a filter can answer, by the runtime specification's names. ERRNO and TRACE carry a number in the lower 16 bits.
ACTIONS: dict[str, int] = {
    "SCMP_ACT_KILL": lib.SECCOMP_RET_KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": lib.SECCOMP_RET_KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": lib.SECCOMP_RET_KILL_PROCESS,
    "SCMP_ACT_TRAP": lib.SECCOMP_RET_TRAP,
    "SCMP_ACT_ERRNO": lib.SECCOMP_RET_ERRNO,
    "SCMP_ACT_TRACE": lib.SECCOMP_RET_TRACE,
    "SCMP_ACT_NOTIFY": lib.SECCOMP_RET_USER_NOTIF,
    "SCMP_ACT_LOG": lib.SECCOMP_RET_LOG,
    "SCMP_ACT_ALLOW": lib.SECCOMP_RET_ALLOW,
}
# Answers after which the system call is made, or made up by a tracer that must hear of new ones too.
_PERMISSIVE = (lib.SECCOMP_RET_ALLOW, lib.SECCOMP_RET_LOG, lib.SECCOMP_RET_TRACE)
_ENOSYS: int = lib.SECCOMP_RET_ERRNO | errno.ENOSYS

# How a filter is loaded (seccomp(2), "SECCOMP_SET_MODE_FILTER"), by the runtime specification's names.
FLAGS: dict[str, int] = {
    "SECCOMP_FILTER_FLAG_TSYNC": lib.SECCOMP_FILTER_FLAG_TSYNC,
    "SECCOMP_FILTER_FLAG_LOG": lib.SECCOMP_FILTER_FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": lib.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": lib.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
}
NEW_LISTENER: int = lib.SECCOMP_FILTER_FLAG_NEW_LISTENER
WAIT_KILLABLE_RECV: int = lib.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
TSYNC: int = lib.SECCOMP_FILTER_FLAG_TSYNC

OPERATORS: dict[str, int] = {
    "SCMP_CMP_NE": lib.SCMP_CMP_NE,
    "SCMP_CMP_LT": lib.SCMP_CMP_LT,
    "SCMP_CMP_LE": lib.SCMP_CMP_LE,
    "SCMP_CMP_EQ": lib.SCMP_CMP_EQ,
    "SCMP_CMP_GE": lib.SCMP_CMP_GE,
    "SCMP_CMP_GT": lib.SCMP_CMP_GT,
    "SCMP_CMP_MASKED_EQ": lib.SCMP_CMP_MASKED_EQ,
}


class Comparison(Record):
    """A condition on argument `index` (0 to 5): `argument operator value`.

    For SCMP_CMP_MASKED_EQ it is `argument & value == masked_value`.
    """

    index: int
    operator: str
    value: int
    masked_value: int = 0


class Rule(Record):
    """The answer to system call `syscall` if all `comparisons` hold: `action` is a SECCOMP_RET_* word."""

    syscall: str
    action: int
    comparisons: tuple[Comparison, ...] = ()


def supported_flags() -> list[str]:
    """Return the names of those FLAGS that this kernel knows."""
    from minirun.kernel._native import lib as system_calls

    def known(flags: int) -> bool:
        needs_listener = NEW_LISTENER if flags == WAIT_KILLABLE_RECV else 0
        return int(system_calls.minirun_probe_seccomp_flags(flags | needs_listener)) == -errno.EFAULT

    return [name for name, flags in FLAGS.items() if known(flags)]


def library_version() -> str:
    """Return libseccomp's version, "2.5.4"."""
    version = lib.seccomp_version()
    return f"{version.major}.{version.minor}.{version.micro}"


def library_path() -> str:
    """Return the file that libseccomp was loaded from; "" if it was linked into minirun. Raises OSError."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        return next((line[line.index("/") :].rstrip("\n") for line in maps if "/libseccomp.so" in line), "")


def native_architecture() -> int:
    """Return libseccomp's token for the architecture that minirun runs on."""
    return int(lib.seccomp_arch_native())


def architecture_token(name: str) -> int:
    """Return libseccomp's token for "x86_64", "x86", "x32", "aarch64", ...; 0 if it does not know the name.

    A token is the AUDIT_ARCH_* word that the kernel puts in seccomp_data, but for x32, which shares x86-64's.
    """
    return int(lib.seccomp_arch_resolve_name(name.encode()))


@operation(
    man="seccomp_export_bpf(3)",
    returns=lambda program: f"{len(program) // 8} instructions",
    default_action=hex,
    architectures=lambda tokens: ", ".join(map(hex, tokens)),
    rules=lambda rules: f"{len(rules)} rules",
)
def compile_rules(default_action: int, architectures: tuple[int, ...], rules: tuple[Rule, ...]) -> bytes:
    """Return the filter program, an array of `struct sock_filter`, that answers as the rules say.

    The native architecture is always part of it; a call from an architecture that is not kills the thread. A rule
    reaches every architecture that has its system call; unknown names, and rules with the default answer, are left out.
    Raises OSError with the rule's system call or the architecture in `filename`.
    """
    tokens = tuple(dict.fromkeys((native_architecture(), *architectures)))
    program = _prologue(default_action, tokens, rules) + _search(default_action, tokens, rules)
    length = len(program) // 8
    if length > lib.BPF_MAXINSNS:
        raise OSError(errno.E2BIG, f"the kernel takes {lib.BPF_MAXINSNS} instructions", f"a program of {length}")
    return program


# ---- the main part: libseccomp's ------------------------------------------------------------------------------------


def _search(default_action: int, tokens: tuple[int, ...], rules: tuple[Rule, ...]) -> bytes:
    """Return libseccomp's program for the rules whose system calls it knows."""
    context = ffi.gc(lib.seccomp_init(default_action), lib.seccomp_release)
    if context == ffi.NULL:
        raise OSError(errno.EINVAL, "libseccomp does not know it", f"action {default_action:#x}")
    # Report the system's own errno instead of ECANCELED, and search by number: log n comparisons instead of n.
    _check(lib.seccomp_attr_set(context, lib.SCMP_FLTATR_API_SYSRAWRC, 1), "SCMP_FLTATR_API_SYSRAWRC")
    _check(lib.seccomp_attr_set(context, lib.SCMP_FLTATR_CTL_OPTIMIZE, 2), "SCMP_FLTATR_CTL_OPTIMIZE")
    for token in tokens[1:]:
        _check(lib.seccomp_arch_add(context, token), f"architecture {token:#x}")
    for rule in rules:
        if _is_known(rule.syscall) and rule.action != default_action:
            number = lib.seccomp_syscall_resolve_name(rule.syscall.encode())
            comparisons = ffi.new("struct scmp_arg_cmp[]", [_arg_cmp(comparison) for comparison in rule.comparisons])
            result = lib.seccomp_rule_add_array(context, rule.action, number, len(comparisons), comparisons)
            _check(result, f"system call {rule.syscall}")
    return _exported(context)


def _is_known(syscall: str) -> bool:
    return bool(lib.seccomp_syscall_resolve_name(syscall.encode()) != lib.__NR_SCMP_ERROR)


def _arg_cmp(comparison: Comparison) -> dict[str, int]:
    return {
        "arg": comparison.index,
        "op": OPERATORS[comparison.operator],
        "datum_a": comparison.value,
        "datum_b": comparison.masked_value,
    }


def _exported(context: Any) -> bytes:
    """Return the context's program, which libseccomp writes to a file only: to one in memory."""
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    try:
        _check(lib.seccomp_export_bpf(context, fd), "seccomp_export_bpf")
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)


def _check(result: int, subject: str) -> None:
    """Raise the OSError that libseccomp's negative errno stands for."""
    if result < 0:
        raise OSError(-result, os.strerror(-result), subject)


# ---- the part in front of it: system calls newer than libseccomp, or than the rules ----------------------------------
#
# A program that is newer than its filter asks for system calls that the filter's author never heard of. C libraries try
# the new call first and fall back to the old one when the kernel answers ENOSYS, "no such system call". A filter that
# answers EPERM instead breaks them: they believe the file or the thread is at fault. So every number above the highest
# one that the rules mention is answered with ENOSYS, as a kernel of the rules' own age would.


def _prologue(default_action: int, tokens: tuple[int, ...], rules: tuple[Rule, ...]) -> bytes:
    """Return the instructions that go before libseccomp's; what they do not answer falls through to those.

    They only compare the number and the architecture. For such answers the kernel keeps a bitmap per filter (since
    Linux 5.11), so that an allowed call is let through without running the program at all.
    """
    bodies = {token: _decide(default_action, token, rules) for token in tokens}
    if lib.SCMP_ARCH_X86_64 in bodies:
        # The two ABIs share one architecture word; x32's calls have bit 30 of the number set.
        x32 = bodies.pop(lib.SCMP_ARCH_X32, [])
        x86_64 = bodies[lib.SCMP_ARCH_X86_64]
        first = _FIRST_NUMBER[lib.SCMP_ARCH_X32]
        bodies[lib.SCMP_ARCH_X86_64] = _when(lib.BPF_JGE, first, [*x32, _skip(x86_64)]) + x86_64
    sections: list[_Instruction] = []
    for audit_architecture, body in bodies.items():
        section = [_load("nr"), *body, _skip(sections)]
        sections = _when(lib.BPF_JEQ, audit_architecture, section) + sections
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in [_load("arch"), *sections])


def _decide(default_action: int, token: int, rules: tuple[Rule, ...]) -> list[_Instruction]:
    """Return the instructions for one architecture; they find the system call's number in the accumulator."""
    body: list[_Instruction] = []
    for rule in rules:
        number = _new_number(rule.syscall, token)
        if number is not None and rule.action != default_action:
            if rule.comparisons:
                reason = f"libseccomp {library_version()} does not know it yet and cannot compare its arguments"
                raise OSError(errno.EOPNOTSUPP, reason, f"system call {rule.syscall}")
            body += _when(lib.BPF_JEQ, number, [_return(rule.action)])
    highest = max((_number(rule.syscall, token) for rule in rules), default=-1)
    if default_action in _PERMISSIVE or highest < 0:
        return body
    if token in (lib.SCMP_ARCH_S390, lib.SCMP_ARCH_S390X):
        body += _when(lib.BPF_JEQ, 0, [_return(_ENOSYS)])  # what the kernel turns a number above its own last one into
    return body + _when(lib.BPF_JGT, highest, [_return(_ENOSYS)])


def _number(syscall: str, token: int) -> int:
    """Return a system call's number on an architecture; a negative number where there is none."""
    new = _new_number(syscall, token)
    return int(lib.seccomp_syscall_resolve_name_arch(token, syscall.encode())) if new is None else new


def _new_number(syscall: str, token: int) -> int | None:
    """Return the number of a system call that libseccomp does not know but this module does."""
    if _is_known(syscall):
        return None
    if token == lib.SCMP_ARCH_X86_64 and syscall in NEW_X86_64_SYSCALLS:
        return NEW_X86_64_SYSCALLS[syscall]
    if syscall in NEW_SYSCALLS:
        return _FIRST_NUMBER.get(token, 0) + NEW_SYSCALLS[syscall]
    return None


def _load(field: str) -> _Instruction:
    return (lib.BPF_LD | lib.BPF_W | lib.BPF_ABS, 0, 0, ffi.offsetof("struct seccomp_data", field))


def _when(comparison: int, value: int, then: list[_Instruction]) -> list[_Instruction]:
    """Run `then`, at most 255 instructions, if the accumulator compares to `value` like this; skip it otherwise."""
    return [(lib.BPF_JMP | comparison | lib.BPF_K, 0, len(then), value), *then]


def _skip(instructions: list[_Instruction]) -> _Instruction:
    return (lib.BPF_JMP | lib.BPF_JA, 0, 0, len(instructions))


def _return(action: int) -> _Instruction:
    return (lib.BPF_RET | lib.BPF_K, 0, 0, action)
