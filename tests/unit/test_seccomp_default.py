"""The default filter against what Docker's refuses, for every system call that there is."""

from __future__ import annotations

from functools import cache

import pytest
from bpf_machine import ALLOW, ENOSYS, EPERM, I386, X32, X86_64, run, syscall_names

from minirun.engine.spec.capabilities import DEFAULT
from minirun.engine.spec.seccomp_default import default_profile
from minirun.engine.spec.seccomp_groups import ALLOWED, REFUSED, WITH_CAPABILITY
from minirun.kernel.seccomp import NEW_SYSCALLS
from minirun.runtime.seccomp.cache import compile_filter

# What Docker's default profile refuses on x86-64 to a container with the default capabilities (moby/profiles,
# seccomp/default.json, July 2026; for the reasons see docs.docker.com/engine/security/seccomp).
REFUSED_BY_DOCKER = set(
    """
    _sysctl acct add_key afs_syscall bpf clock_settime create_module delete_module fanotify_init finit_module fsconfig
    fsmount fsopen fspick get_kernel_syms get_mempolicy getpmsg init_module io_uring_enter io_uring_register
    io_uring_setup ioperm iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie lsm_get_self_attr
    lsm_list_modules lsm_set_self_attr mbind migrate_pages mount mount_setattr move_mount move_pages nfsservctl
    open_by_handle_at open_tree open_tree_attr perf_event_open pidfd_getfd pivot_root process_madvise putpmsg
    query_module quotactl quotactl_fd reboot request_key security set_mempolicy set_mempolicy_home_node setdomainname
    sethostname setns settimeofday swapoff swapon sysfs syslog tuxcall umount2 unshare uselib userfaultfd ustat
    vhangup vserver
    """.split()
)
# And what it also refuses to 32-bit programs of the same container.
REFUSED_BY_DOCKER_ON_I386 = REFUSED_BY_DOCKER | set(
    """
    bdflush break clock_settime64 ftime gtty idle lock mpx nice oldfstat oldlstat oldolduname oldstat olduname prof
    profil readdir sgetmask sigaction signal sigpending sigsuspend ssetmask stime stty ulimit umount vm86 vm86old
    """.split()
)
DEPENDS_ON_ARGUMENTS = {"clone", "clone3", "personality", "socket"}

CAPABILITY_ALLOWS = {
    "CAP_SYS_ADMIN": """
        bpf fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules
        lsm_set_self_attr mount mount_setattr move_mount open_tree open_tree_attr perf_event_open quotactl quotactl_fd
        setdomainname sethostname setns syslog umount2 unshare
        """,
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_MODULE": "delete_module init_module finit_module",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "iopl ioperm",
    "CAP_SYS_TIME": "settimeofday clock_settime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYSLOG": "syslog",
    "CAP_BPF": "bpf",
    "CAP_PERFMON": "perf_event_open",
    "CAP_NET_ADMIN": "",
}

ABIS = {
    "x86_64": (X86_64, 0, REFUSED_BY_DOCKER),
    "x86": (I386, 0, REFUSED_BY_DOCKER_ON_I386),
    "x32": (X86_64, X32, REFUSED_BY_DOCKER),
}


@cache
def program(capabilities: frozenset[str] = DEFAULT) -> bytes:
    return compile_filter(default_profile(capabilities, "amd64")).program


def numbers(abi: str) -> dict[str, int]:
    """All system calls of an ABI: libseccomp's and those that are newer than it."""
    first = ABIS[abi][1]
    absent = {"map_shadow_stack"} if abi == "x32" else set()
    return {name: first + number for name, number in NEW_SYSCALLS.items() if name not in absent} | syscall_names(
        abi, first
    )


@pytest.mark.parametrize("abi", ABIS)
def test_every_system_call_is_decided_as_docker_does(abi: str) -> None:
    architecture, _, refused = ABIS[abi]
    filtered = program()
    known = numbers(abi)
    assert len(known) > 350
    wrong = {}
    for name, number in known.items():
        if name not in DEPENDS_ON_ARGUMENTS:
            expected = EPERM if name in refused else ALLOW
            answer = run(filtered, number, architecture=architecture)
            if answer != expected:
                wrong[name] = hex(answer)
    assert wrong == {}


@pytest.mark.parametrize("capability", CAPABILITY_ALLOWS)
def test_a_capability_lets_exactly_its_own_calls_through(capability: str) -> None:
    before, after = program(), program(DEFAULT | {capability})
    opened = {
        name
        for name, number in numbers("x86_64").items()
        if run(before, number) != run(after, number) and name not in DEPENDS_ON_ARGUMENTS
    }
    assert opened == set(CAPABILITY_ALLOWS[capability].split())
    assert all(run(after, numbers("x86_64")[name]) == ALLOW for name in opened)


def test_without_the_capability_chroot_is_refused() -> None:
    chroot = numbers("x86_64")["chroot"]
    assert run(program(), chroot) == ALLOW
    assert run(program(DEFAULT - {"CAP_SYS_CHROOT"}), chroot) == EPERM


@pytest.mark.parametrize("flag", [0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000])
def test_clone_makes_no_namespace(flag: int) -> None:
    clone = numbers("x86_64")["clone"]
    assert run(program(), clone, (flag | 17,)) == EPERM
    assert run(program(), clone, (0x003D0F00,)) == ALLOW  # what glibc's pthread_create asks for
    assert run(program(DEFAULT | {"CAP_SYS_ADMIN"}), clone, (flag | 17,)) == ALLOW


def test_on_ibm_z_the_flags_of_clone_are_its_second_argument() -> None:
    (rule,) = (r for r in default_profile(DEFAULT, "s390x")["syscalls"] if r["names"] == ["clone"])
    assert [argument["index"] for argument in rule["args"]] == [1]


def test_clone3_does_not_exist_unless_everything_is_allowed() -> None:
    clone3 = numbers("x86_64")["clone3"]
    assert run(program(), clone3) == ENOSYS
    assert run(program(DEFAULT | {"CAP_SYS_ADMIN"}), clone3) == ALLOW


def test_personality_takes_only_harmless_values() -> None:
    personality = numbers("x86_64")["personality"]
    allowed = {v for v in (0, 1, 8, 0x20000, 0x20008, 0x400000, 0x40000, 0xFFFFFFFF, 1 << 32)
               if run(program(), personality, (v,)) == ALLOW}  # fmt: skip
    assert allowed == {0, 8, 0x20000, 0x20008, 0xFFFFFFFF}


def test_sockets_of_all_families_but_two() -> None:
    socket = numbers("x86_64")["socket"]
    refused = {family for family in range(46) if run(program(), socket, (family,)) != ALLOW}
    assert refused == {38, 40}


@pytest.mark.parametrize("family", [38, 40])
def test_a_refused_family_cannot_hide_behind_high_bits(family: int) -> None:
    """The kernel takes the lower half of the register; the filter compares all of it."""
    socket = numbers("x86_64")["socket"]
    assert run(program(), socket, (1 << 32 | family,)) == EPERM
    assert run(program(), socket, (0xFFFFFFFF00000000 | family,)) == EPERM


@pytest.mark.parametrize("abi", ABIS)
def test_what_nobody_knows_yet_does_not_exist(abi: str) -> None:
    architecture, first, _ = ABIS[abi]
    newest = first + max(NEW_SYSCALLS.values())
    newest = max(newest, *numbers(abi).values())  # x32 has numbers of its own from 512 on
    for number in (newest + 1, first + 600, first + 1023):
        assert run(program(), number, architecture=architecture) == ENOSYS


def test_calls_of_an_unknown_architecture_kill() -> None:
    assert run(program(), 39, architecture=0xC00000B7) == 0  # AARCH64 on x86-64: SECCOMP_RET_KILL_THREAD


def test_each_system_call_has_one_place() -> None:
    everywhere = [name for group in (*ALLOWED, *WITH_CAPABILITY, *REFUSED) for name in group.names]
    assert {name for name in everywhere if everywhere.count(name) > 1} == {"modify_ldt", "sync_file_range2"}
    for abi in ABIS:
        assert set(numbers(abi)) - set(everywhere) == DEPENDS_ON_ARGUMENTS & set(numbers(abi)), abi


def test_no_name_is_misspelt() -> None:
    """Every name is a system call of some architecture that libseccomp or minirun knows."""
    known = set(NEW_SYSCALLS) | {"uretprobe", "uprobe", "riscv_hwprobe", "fstatat64"}
    for architecture, first in (
        ("x86_64", 0), ("x86", 0), ("arm", 0), ("arm", 0xF0000), ("aarch64", 0), ("ppc64le", 0), ("s390x", 0),
        ("s390", 0), ("riscv64", 0), ("mips", 4000),
    ):  # fmt: skip
        known |= set(syscall_names(architecture, first))
    named = {name for group in (*ALLOWED, *WITH_CAPABILITY, *REFUSED) for name in group.names}
    assert named - known == set()


def test_every_group_gives_its_reason() -> None:
    for group in (*ALLOWED, *WITH_CAPABILITY, *REFUSED):
        assert group.title
        assert group.why.endswith(".")
        assert group.names
