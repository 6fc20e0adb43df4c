"""The kernel's filter machine in a few lines, so that tests can ask a program about calls nobody dares to make.

Classic BPF as seccomp uses it: net/core/filter.c and kernel/seccomp.c, `seccomp_check_filter`.
"""

from __future__ import annotations

import ctypes
import struct

X86_64, I386 = 0xC000003E, 0x40000003
X32 = 0x40000000
ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026


def run(program: bytes, number: int, arguments: tuple[int, ...] = (), architecture: int = X86_64) -> int:
    """Return the SECCOMP_RET_* word that the program answers with."""
    padded = (arguments + (0,) * 6)[:6]
    data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, architecture, 0, *padded)
    code = list(struct.iter_unpack("=HBBI", program))
    at, accumulator = 0, 0
    while True:
        operation, if_true, if_false, value = code[at]
        at += 1
        if operation == 0x20:  # ld [value]
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif operation == 0x54:  # and
            accumulator &= value
        elif operation == 0x05:  # ja
            at += value
        elif operation in (0x15, 0x25, 0x35, 0x45):  # jeq jgt jge jset
            holds = {
                0x15: accumulator == value,
                0x25: accumulator > value,
                0x35: accumulator >= value,
                0x45: bool(accumulator & value),
            }[operation]
            at += if_true if holds else if_false
        elif operation == 0x06:  # ret
            return int(value)
        else:
            raise AssertionError(f"instruction {operation:#x} is not one that a filter may use")


def syscall_names(architecture: str, first: int = 0) -> dict[str, int]:
    """Return the system calls that libseccomp knows for "x86_64", "x86" or "x32", with their numbers."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    library.seccomp_syscall_resolve_num_arch.restype = ctypes.c_void_p
    library.free.argtypes = [ctypes.c_void_p]
    token = ctypes.c_uint32(library.seccomp_arch_resolve_name(architecture.encode()))
    names = {}
    for number in range(first, first + 1000):
        name = library.seccomp_syscall_resolve_num_arch(token, number)
        if name:
            names[ctypes.string_at(name).decode()] = number
            library.free(name)
    return names
