"""The default filter at work: processes load it and try what it refuses.

Each child loads the program just as a container's process does in its last step before exec, makes calls with
arguments that would do nothing even if they were let through, and reports what the kernel answered.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from minirun.engine.spec.capabilities import DEFAULT
from minirun.engine.spec.seccomp_default import default_profile
from minirun.runtime.seccomp.cache import Filter, compile_filter

if TYPE_CHECKING:
    from collections.abc import Callable

SECCOMP_SET_MODE_FILTER = 1
SYS_SECCOMP = 317
OK = 0

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def syscall(number: int, *arguments: int) -> int:
    """Make a system call; return 0 if it was carried out, else its errno."""
    registers = (arguments + (0,) * 6)[:6]
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(register) for register in registers))
    return ctypes.get_errno() if result == -1 else OK


def load(made: Filter) -> None:
    program = Program(len(made.program) // 8, made.program)
    answer = syscall(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, made.flags, ctypes.addressof(program))
    assert answer == OK, errno.errorcode[answer]


def in_child(work: Callable[[], object]) -> object:
    """Run `work` in a fork; return what it returned, or the name of the signal that ended it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.write(writing, json.dumps(work()).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with open(reading, "rb") as pipe:
        report = pipe.read()
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    assert os.waitstatus_to_exitcode(status) == 0
    return json.loads(report)


@pytest.fixture(scope="module")
def default() -> Filter:
    return compile_filter(default_profile(DEFAULT, "amd64"))


def filtered(made: Filter, work: Callable[[], object]) -> object:
    def loaded() -> object:
        load(made)
        return work()

    return in_child(loaded)


# Number and arguments. None of these does anything, with the filter or without: pointers are null, commands unknown.
HARMLESS_BUT_REFUSED = {
    "mount": (165, 0, 0, 0),
    "umount2": (166, 0, 0x80),
    "open_tree": (428, -1, 0, 0x80),
    "move_mount": (429, -1, 0, -1, 0, 0x80000000),
    "fsopen": (430, 0, 0x80),
    "unshare(CLONE_NEWUSER)": (272, 0x10000000 | 0x1),
    "setns": (308, -1, 0),
    "keyctl": (250, 9999),
    "add_key": (248, 0),
    "request_key": (249, 0),
    "bpf": (321, 9999, 0, 0),
    "perf_event_open": (298, 0, 0, -1, -1, 0x80),
    "kexec_load": (246, 0, 99999, 0, 0),
    "init_module": (175, 0, 0, 0),
    "finit_module": (313, -1, 0, 0),
    "reboot": (169, 0, 0, 0, 0),
    "swapon": (167, 0, 0),
    "settimeofday": (164, 1, 1),
    "clock_settime": (227, 99, 0),
    "syslog": (103, 99, 0, 0),
    "open_by_handle_at": (304, -1, 0, 0),
    "pivot_root": (155, 0, 0),
    "userfaultfd": (323, 0x80),
    "io_uring_setup": (425, 0, 0),
    "sethostname": (170, 0, 9999),
    "acct": (163, 1),
    "quotactl": (179, 9999, 0, 0, 0),
    "iopl": (172, 99),
    "move_pages": (279, 0, 1, 0, 0, 0, 0x80),
    "mbind": (237, 0, 0, 9999, 0, 0, 0),
    "clone(CLONE_NEWUSER)": (56, 0x10000000 | 0x200),  # CLONE_FS with a new user namespace is invalid
    "personality(READ_IMPLIES_EXEC)": (135, 0x0400000),
    "socket(AF_VSOCK)": (41, 40, 99, 99),
    "socket(AF_ALG)": (41, 38, 99, 99),
    "socket(AF_VSOCK) behind high bits": (41, 1 << 32 | 40, 99, 99),
}


@pytest.mark.parametrize("name", HARMLESS_BUT_REFUSED)
def test_refused(default: Filter, name: str) -> None:
    call = HARMLESS_BUT_REFUSED[name]
    assert filtered(default, lambda: syscall(*call)) == errno.EPERM
    # Without the filter the kernel looks at the arguments and finds another reason, so it is the filter that refuses.
    assert in_child(lambda: syscall(*call)) != errno.EPERM


def test_what_does_not_exist_here(default: Filter) -> None:
    assert filtered(default, lambda: syscall(435, 0, 0)) == errno.ENOSYS  # clone3
    assert in_child(lambda: syscall(435, 0, 0)) == errno.EINVAL
    assert filtered(default, lambda: syscall(600)) == errno.ENOSYS


def test_a_call_that_is_refused_and_newer_than_libseccomp(default: Filter) -> None:
    assert filtered(default, lambda: syscall(467, -1, 0, 0x80, 0, 0)) == errno.EPERM  # open_tree_attr


def test_ordinary_programs_work(default: Filter, tmp_path: object) -> None:
    def ordinary() -> object:
        os.chdir(str(tmp_path))
        with open("file", "w") as file:
            file.write("text")
        os.chown("file", 0, 0)
        os.rename("file", "other")
        pair = socket.socketpair()
        pair[0].send(b"x")
        server = socket.socket()
        server.bind(("127.0.0.1", 0))
        server.listen()
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()
        child = os.fork()
        if child == 0:
            os.execv("/bin/true", ["true"])
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return [os.listdir("."), pair[1].recv(1).decode(), code, os.uname().sysname]

    assert filtered(default, ordinary) == [["other"], "x", 0, "Linux"]


def test_threads_start_although_clone3_is_refused(default: Filter) -> None:
    """glibc asks for clone3 first and falls back to clone on ENOSYS; on EPERM it would give up."""

    def threaded() -> object:
        import threading

        done: list[int] = []
        thread = threading.Thread(target=lambda: done.append(1))
        thread.start()
        thread.join()
        return done

    assert filtered(default, threaded) == [1]


def test_personality_can_be_asked_for(default: Filter) -> None:
    assert filtered(default, lambda: syscall(135, 0xFFFFFFFF)) == OK
    assert filtered(default, lambda: syscall(135, 0x8)) == OK


def test_a_debugger_works(default: Filter) -> None:
    assert filtered(default, lambda: syscall(101, 0, 0, 0, 0)) == OK  # PTRACE_TRACEME


def test_x32_is_no_way_round(default: Filter) -> None:
    x32 = 0x40000000
    assert filtered(default, lambda: syscall(x32 | 165, 0, 0, 0)) == errno.EPERM
    assert filtered(default, lambda: syscall(x32 | 600)) == errno.ENOSYS


# push rbx; mov eax, edi; mov ebx, esi; xor ecx, ecx; xor edx, edx; xor esi, esi; int 0x80; pop rbx; ret
INT_80 = bytes.fromhex("53 89f8 89f3 31c9 31d2 31f6 cd80 5b c3")


def test_32_bit_calls_are_no_way_round(default: Filter) -> None:
    """A 64-bit program may make 32-bit calls, where 21 is mount and 20 getpid."""

    def call_32(number: int, argument: int = 0) -> int:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(INT_80)
        code = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint, ctypes.c_uint)(
            ctypes.addressof(ctypes.c_char.from_buffer(page))
        )
        return int(code(number, argument))

    def own_pid() -> bool:
        return call_32(20) == os.getpid()

    if in_child(own_pid) == "SIGSEGV":  # a kernel without CONFIG_IA32_EMULATION has no such way at all
        assert filtered(default, lambda: call_32(21)) == "SIGSEGV"
        return
    assert filtered(default, own_pid) is True
    assert filtered(default, lambda: call_32(21)) == -errno.EPERM
    assert filtered(default, lambda: call_32(310, 0x10000000)) == -errno.EPERM  # unshare
    assert filtered(default, lambda: call_32(435)) == -errno.ENOSYS
    assert filtered(default, lambda: call_32(600)) == -errno.ENOSYS


def test_a_capability_opens_its_calls() -> None:
    made = compile_filter(default_profile(DEFAULT | {"CAP_SYS_ADMIN"}, "amd64"))
    assert filtered(made, lambda: syscall(*HARMLESS_BUT_REFUSED["mount"])) == errno.EFAULT
    assert filtered(made, lambda: syscall(435, 0, 0)) == errno.EINVAL
    assert filtered(made, lambda: syscall(*HARMLESS_BUT_REFUSED["keyctl"])) == errno.EPERM


@pytest.mark.parametrize(
    ("action", "end"),
    [
        ("SCMP_ACT_KILL_PROCESS", "SIGSYS"),
        ("SCMP_ACT_KILL", "SIGSYS"),
        ("SCMP_ACT_TRAP", "SIGSYS"),
        ("SCMP_ACT_LOG", OK),
        ("SCMP_ACT_ERRNO", errno.ENOTTY),
        ("SCMP_ACT_TRACE", errno.ENOSYS),  # nobody traces
    ],
)
def test_actions(action: str, end: object) -> None:
    number = {"errnoRet": errno.ENOTTY} if action in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE") else {}
    rule = {"names": ["getppid"], "action": action} | number
    made = compile_filter({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
    assert filtered(made, lambda: syscall(110)) == end


def test_a_listener_hears_of_a_call() -> None:
    rule = {"names": ["getppid"], "action": "SCMP_ACT_NOTIFY"}
    made = compile_filter({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule], "listenerPath": "/run/l.sock"})

    def listened() -> object:
        program = Program(len(made.program) // 8, made.program)
        address = ctypes.c_long(ctypes.addressof(program))
        fd = libc.syscall(ctypes.c_long(SYS_SECCOMP), SECCOMP_SET_MODE_FILTER, ctypes.c_long(made.flags), address)
        return os.readlink(f"/proc/self/fd/{fd}")

    assert in_child(listened) == "anon_inode:seccomp notify"


def test_the_kernel_takes_a_filter_for_every_set_of_flags(default: Filter) -> None:
    flags = ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]
    made = compile_filter(default_profile(DEFAULT, "amd64") | {"flags": flags})
    assert made.program == default.program
    assert filtered(made, lambda: syscall(39)) == OK
