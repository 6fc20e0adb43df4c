"""Small eBPF programs that decide which devices a cgroup may use.

cgroup v2 has no file for device rules: instead a program of type BPF_PROG_TYPE_CGROUP_DEVICE is attached to the
cgroup's directory, and the kernel asks it at every open(2) and mknod(2) of a device. Its argument is `struct
bpf_cgroup_dev_ctx` of linux/bpf.h; it returns 1 to allow. Sources: bpf(2);
Documentation/bpf/standardization/instruction-set.rst.
"""

from __future__ import annotations

import os
import struct

from minirun.kernel._native import lib
from minirun.kernel.process import check
from minirun.kernel.trace import operation

# Operation codes of linux/bpf.h: class | size or operation | mode or source.
_LOAD_WORD = 0x61  # BPF_LDX | BPF_W | BPF_MEM: destination = *(u32 *)(source + offset)
_MOVE = 0xBF  # BPF_ALU64 | BPF_MOV | BPF_X
_MOVE_CONSTANT = 0xB7  # BPF_ALU64 | BPF_MOV | BPF_K
_AND_CONSTANT = 0x57  # BPF_ALU64 | BPF_AND | BPF_K
_SHIFT_RIGHT = 0x77  # BPF_ALU64 | BPF_RSH | BPF_K
_JUMP_UNLESS_EQUAL = 0x55  # BPF_JMP | BPF_JNE | BPF_K
_JUMP_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_EXIT = 0x95

# Registers: r0 is the result, r1 the argument at entry; the program keeps what it compares in r2 to r5.
RESULT, CONTEXT, KIND, ACCESS, MAJOR, MINOR, SCRATCH = 0, 1, 2, 3, 4, 5, 0

NAME = b"minirun_devices"  # what our programs are called in the kernel: `bpftool cgroup list` shows it


def instruction(code: int, destination: int = 0, source: int = 0, offset: int = 0, constant: int = 0) -> bytes:
    """Return one `struct bpf_insn`."""
    return struct.pack("<BBhi", code, destination | source << 4, offset, constant)


def prologue() -> bytes:
    """Load kind, access, major and minor of the device that is asked for into their registers."""
    return b"".join(
        (
            instruction(_LOAD_WORD, KIND, CONTEXT, 0),  # access_type: access << 16 | kind
            instruction(_MOVE, ACCESS, KIND),
            instruction(_AND_CONSTANT, KIND, constant=0xFFFF),
            instruction(_SHIFT_RIGHT, ACCESS, constant=16),
            instruction(_LOAD_WORD, MAJOR, CONTEXT, 4),
            instruction(_LOAD_WORD, MINOR, CONTEXT, 8),
        )
    )


def rule(kind: int | None, access: int, major: int | None, minor: int | None, *, allow: bool) -> bytes:
    """Return the instructions of one rule; None matches everything.

    The program asks the rules from the last to the first, and keeps in ACCESS what no rule has decided yet. If the
    device matches, an allowing rule takes away what it allows, and ends the program once nothing is left; a denying
    one ends the program if it denies any of the rest.
    """
    if allow:
        decision = [
            instruction(_AND_CONSTANT, ACCESS, constant=~access & 7),
            instruction(_JUMP_UNLESS_EQUAL, ACCESS, offset=2),
        ]
    else:
        decision = [
            instruction(_MOVE, SCRATCH, ACCESS),
            instruction(_AND_CONSTANT, SCRATCH, constant=access),
            instruction(_JUMP_IF_EQUAL, SCRATCH, offset=2),
        ]
    decision += [instruction(_MOVE_CONSTANT, RESULT, constant=int(allow)), instruction(_EXIT)]
    tests = [(register, n) for register, n in ((KIND, kind), (MAJOR, major), (MINOR, minor)) if n is not None]
    length = len(tests) + len(decision)
    return b"".join(
        instruction(_JUMP_UNLESS_EQUAL, register, offset=length - position - 1, constant=wanted)
        for position, (register, wanted) in enumerate(tests)
    ) + b"".join(decision)


def epilogue(*, allow: bool) -> bytes:
    """Return the instructions that answer for a device that no rule matches."""
    return instruction(_MOVE_CONSTANT, RESULT, constant=int(allow)) + instruction(_EXIT)


@operation(man="bpf(2)", program=lambda program: f"{len(program) // 8} instructions")
def attach_device_program(cgroup_fd: int, program: bytes) -> None:
    """Load a device program and attach it to a cgroup, which keeps it until it is removed. Raises OSError.

    The one that an earlier call has attached is replaced in one step: no open(2) falls between the two. Programs of
    others, systemd's for example, stay: the kernel allows what all of them allow.
    """
    loaded = check(lib.minirun_load_device_program(program, len(program) // 8, NAME), "load the device program")
    replaced = lib.minirun_find_device_program(cgroup_fd, NAME)
    try:
        check(lib.minirun_attach_device_program(cgroup_fd, loaded, replaced), "attach the device program")
    finally:
        os.close(loaded)
        if replaced >= 0:
            os.close(replaced)
