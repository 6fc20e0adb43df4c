"""What a profile says and what the compiled program answers are the same thing."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from bpf_machine import ALLOW, ENOSYS, EPERM, I386, X32, X86_64, run, syscall_names
from hypothesis import given, settings
from hypothesis import strategies as st

from minirun.errors import MinirunError
from minirun.kernel.seccomp import NEW_SYSCALLS
from minirun.runtime.seccomp import cache as seccomp
from minirun.runtime.seccomp.cache import compile_filter, filter_for

NUMBERS = syscall_names("x86_64")
ACTIONS = {
    "SCMP_ACT_KILL": 0,
    "SCMP_ACT_KILL_THREAD": 0,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
OPERATORS = {
    "SCMP_CMP_NE": lambda argument, value, _: argument != value,
    "SCMP_CMP_LT": lambda argument, value, _: argument < value,
    "SCMP_CMP_LE": lambda argument, value, _: argument <= value,
    "SCMP_CMP_EQ": lambda argument, value, _: argument == value,
    "SCMP_CMP_GE": lambda argument, value, _: argument >= value,
    "SCMP_CMP_GT": lambda argument, value, _: argument > value,
    "SCMP_CMP_MASKED_EQ": lambda argument, mask, value: argument & mask == value,
}


def profile(*rules: dict[str, object], **more: object) -> dict[str, object]:
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": list(rules),
    } | more


def allow(*names: str, **more: object) -> dict[str, object]:
    return {"names": list(names), "action": "SCMP_ACT_ALLOW"} | more


def compare(index: int, operator: str, value: int, second: int = 0) -> dict[str, object]:
    return {"index": index, "op": operator, "value": value, "valueTwo": second}


# ---- actions --------------------------------------------------------------------------------------------------------

WITH_A_NUMBER = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")


@pytest.mark.parametrize("action", ACTIONS)
def test_each_action_is_the_kernels(action: str) -> None:
    number = 77 if action in WITH_A_NUMBER else 0
    rule = {"names": ["getpid"], "action": action} | ({"errnoRet": 77} if number else {})
    made = compile_filter(profile(rule, listenerPath="/run/listener.sock"))
    assert run(made.program, NUMBERS["getpid"]) == ACTIONS[action] | number
    assert run(made.program, NUMBERS["read"]) == EPERM


@pytest.mark.parametrize("action", sorted(set(ACTIONS) - {"SCMP_ACT_NOTIFY"}))
def test_each_action_can_be_the_default(action: str) -> None:
    rule = {"names": ["getpid", "getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5}
    number = 9 if action in WITH_A_NUMBER else 0
    made = compile_filter(profile(rule, defaultAction=action, defaultErrnoRet=number or None))
    assert run(made.program, 0) == ACTIONS[action] | number
    assert run(made.program, NUMBERS["getpid"]) == 0x00050005


def test_errno_without_a_number_is_eperm() -> None:
    made = compile_filter(profile({"names": ["getpid"], "action": "SCMP_ACT_ERRNO"}, defaultAction="SCMP_ACT_ALLOW"))
    assert run(made.program, NUMBERS["getpid"]) == EPERM


# ---- arguments ------------------------------------------------------------------------------------------------------

INTERESTING = st.one_of(
    st.integers(0, 2**64 - 1),
    st.sampled_from([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**63, 2**64 - 1]),
    st.integers(0, 8),
)


@st.composite
def conditions(draw: st.DrawFn) -> list[dict[str, object]]:
    indexes = draw(st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True))
    made = []
    for index in indexes:
        operator = draw(st.sampled_from(sorted(OPERATORS)))
        value, second = draw(INTERESTING), draw(INTERESTING)
        # libseccomp keeps only the bits of the value that the mask has.
        made.append(compare(index, operator, value, second & value if operator == "SCMP_CMP_MASKED_EQ" else 0))
    return made


@settings(max_examples=150)
@given(conditions(), st.lists(st.lists(INTERESTING, min_size=6, max_size=6), min_size=1, max_size=10), st.data())
def test_conditions_hold_as_written(
    arguments: list[dict[str, int | str]], calls: list[list[int]], data: st.DataObject
) -> None:
    program = compile_filter(profile(allow("ioctl", args=arguments))).program
    for registers in calls:
        for condition in arguments:  # random numbers hardly ever meet a boundary
            near = int(condition["value"]) + data.draw(st.integers(-1, 1))
            if data.draw(st.booleans()):
                registers[int(condition["index"])] = near % 2**64
        expected = all(
            OPERATORS[str(c["op"])](registers[int(c["index"])], int(c["value"]), int(c["valueTwo"])) for c in arguments
        )
        assert run(program, NUMBERS["ioctl"], tuple(registers)) == (ALLOW if expected else EPERM)
        assert run(program, NUMBERS["read"], tuple(registers)) == EPERM


def test_two_conditions_on_one_argument_are_alternatives() -> None:
    """So runc takes them, and Docker's users write profiles that mean it."""
    made = compile_filter(profile(allow("socket", args=[compare(0, "SCMP_CMP_EQ", 1), compare(0, "SCMP_CMP_EQ", 2)])))
    families = [family for family in range(5) if run(made.program, NUMBERS["socket"], (family,)) == ALLOW]
    assert families == [1, 2]


def test_several_rules_for_one_call_are_alternatives() -> None:
    rules = [allow("personality", args=[compare(0, "SCMP_CMP_EQ", value)]) for value in (0, 8)]
    made = compile_filter(profile(*rules))
    assert [v for v in range(16) if run(made.program, NUMBERS["personality"], (v,)) == ALLOW] == [0, 8]


# ---- names and numbers ----------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.sets(st.sampled_from(sorted(NUMBERS)), min_size=1, max_size=120))
def test_exactly_the_named_calls_are_allowed(names: set[str]) -> None:
    program = compile_filter(profile(allow(*sorted(names)), architectures=["SCMP_ARCH_X86_64"])).program
    highest = max(NUMBERS[name] for name in names)
    for name, number in NUMBERS.items():
        expected = ALLOW if name in names else EPERM if number < highest else ENOSYS
        assert run(program, number) == expected, name


def test_unknown_names_are_passed_over() -> None:
    program = compile_filter(profile(allow("getpid", "no_such_call", "s390_sthyi"))).program
    assert run(program, NUMBERS["getpid"]) == ALLOW
    assert run(program, 600) == ENOSYS


def test_calls_newer_than_libseccomp_are_known_on_every_abi() -> None:
    made = compile_filter(profile(allow("mseal", "file_setattr"), {"names": ["getxattrat"], "action": "SCMP_ACT_KILL"}))
    for architecture, first in ((X86_64, 0), (X86_64, X32), (I386, 0)):
        answers = {
            name: run(made.program, first + NEW_SYSCALLS[name], architecture=architecture)
            for name in ("mseal", "file_setattr", "getxattrat", "setxattrat")
        }
        assert answers == {"mseal": ALLOW, "file_setattr": ALLOW, "getxattrat": 0, "setxattrat": EPERM}
        assert run(made.program, first + 470, architecture=architecture) == ENOSYS
    assert run(compile_filter(profile(allow("uretprobe"))).program, 335) == ALLOW


def test_a_new_call_can_be_refused_where_the_rest_is_allowed() -> None:
    made = compile_filter(profile({"names": ["mseal"], "action": "SCMP_ACT_ERRNO"}, defaultAction="SCMP_ACT_ALLOW"))
    assert run(made.program, 462) == EPERM
    assert run(made.program, 461) == ALLOW
    assert run(made.program, 600) == ALLOW  # a filter that allows by default allows what is to come


def test_arguments_of_a_call_that_libseccomp_does_not_know_are_an_error() -> None:
    with pytest.raises(MinirunError, match=r"system call file_setattr: libseccomp .* cannot compare its arguments"):
        compile_filter(profile(allow("file_setattr", args=[compare(0, "SCMP_CMP_EQ", 1)])))


def test_only_listed_architectures_may_call() -> None:
    program = compile_filter(profile(allow("getpid"), architectures=["SCMP_ARCH_X86_64"])).program
    assert run(program, NUMBERS["getpid"]) == ALLOW
    assert run(program, 20, architecture=I386) == 0  # SECCOMP_RET_KILL_THREAD
    assert run(program, X32 | NUMBERS["getpid"]) == 0


def test_an_architecture_may_be_listed_twice() -> None:
    once, twice = (["SCMP_ARCH_X86", "SCMP_ARCH_X86_64"] * times for times in (1, 2))
    programs = {compile_filter(profile(allow("getpid"), architectures=names)).program for names in (once, twice)}
    assert len(programs) == 1


def test_without_architectures_the_native_one_is_filtered() -> None:
    program = compile_filter(profile(allow("getpid"), architectures=[])).program
    assert run(program, NUMBERS["getpid"]) == ALLOW
    assert run(program, NUMBERS["getppid"]) == ENOSYS  # 110 is above getpid's 39
    assert run(program, 20, architecture=I386) == 0


# ---- flags and the listener -----------------------------------------------------------------------------------------


def test_flags() -> None:
    assert compile_filter(profile(allow("getpid"))).flags == 1 << 2  # SPEC_ALLOW, as runc
    assert compile_filter(profile(allow("getpid"), flags=[])).flags == 0
    names = ["TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"]
    flags = [f"SECCOMP_FILTER_FLAG_{name}" for name in names]
    assert compile_filter(profile(allow("getpid"), flags=flags)).flags == 0b000111, "nobody listens"
    notify = {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}
    found = compile_filter(profile(notify, flags=flags, listenerPath="/run/l.sock")).flags
    assert found == 0b101110, "without TSYNC, which the kernel refuses together with a listener"


def test_a_listener() -> None:
    rule = {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}
    made = compile_filter(profile(rule, flags=[], listenerPath="/run/l.sock", listenerMetadata="box"))
    assert (made.flags, made.listener_path, made.listener_metadata) == (1 << 3, "/run/l.sock", "box")
    assert made.asks


def test_a_listener_that_is_never_asked() -> None:
    made = compile_filter(profile(allow("getpid"), flags=[], listenerPath="/run/l.sock"))
    assert made.flags == 1 << 3
    assert not made.asks


# ---- what is wrong with a profile -----------------------------------------------------------------------------------

NOTIFY_MKDIR = {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({}, "linux.seccomp.defaultAction: is missing"),
        ({"defaultAction": "ALLOW"}, "linux.seccomp.defaultAction: 'ALLOW' is no action"),
        (profile(defaultErrnoRet=65536), "linux.seccomp.defaultErrnoRet: is not a number from 0 to 65535"),
        (profile(architectures=["SCMP_ARCH_Z80"]), r"linux.seccomp.architectures\[0\]: .*SCMP_ARCH_Z80"),
        (profile(architectures=["x86_64"]), r"linux.seccomp.architectures\[0\]: .*'x86_64'"),
        (profile(flags=["FAST"]), r"linux.seccomp.flags\[0\]: 'FAST' is no flag"),
        (profile(syscalls="all"), "linux.seccomp.syscalls: is not a list"),
        (profile(syscalls=["read"]), r"linux.seccomp.syscalls\[0\]: is not an object"),
        (profile(allow()), r"syscalls\[0\].names: names no system call"),
        (profile(allow("a\0b")), r"syscalls\[0\].names: is not a list of names"),
        (profile(allow("read"), {"names": ["write"]}), r"syscalls\[1\].action: is missing"),
        (profile(allow("read", action="SCMP_ACT_ERRNO", errnoRet=-1)), r"syscalls\[0\].errnoRet: is not a number"),
        (profile(allow("read", errnoRet=1)), r"syscalls\[0\].errnoRet: SCMP_ACT_ALLOW takes no number"),
        (profile(defaultAction="SCMP_ACT_LOG", defaultErrnoRet=1), "defaultErrnoRet: SCMP_ACT_LOG takes no number"),
        (profile(allow("read"), listenerMetadata="x"), "listenerMetadata: is set, but there is no listenerPath"),
        (profile(allow("read", args=[compare(6, "SCMP_CMP_EQ", 0)])), r"args\[0\].index: is not a number from 0 to 5"),
        (profile(allow("read", args=[compare(0, "==", 0)])), r"args\[0\].op: '==' is no comparison"),
        (profile(allow("read", args=[compare(0, "SCMP_CMP_EQ", 2**64)])), r"args\[0\].value: is not a number"),
        (profile(allow("read", args=[{"index": 0, "op": "SCMP_CMP_EQ"}])), r"args\[0\].value: is missing"),
        (profile(allow("read", args=[compare(True, "SCMP_CMP_EQ", 1)])), r"args\[0\].index: is not a number"),
        (profile(NOTIFY_MKDIR), "listenerPath: is missing"),
        (profile(NOTIFY_MKDIR | {"names": ["write"]}, listenerPath="/x"), "cannot be used for the write syscall"),
        (profile(defaultAction="SCMP_ACT_NOTIFY"), "SCMP_ACT_NOTIFY cannot be used as default action"),
    ],
)  # fmt: skip
def test_errors_name_the_field(wrong: dict[str, object], field: str) -> None:
    with pytest.raises(MinirunError, match=field) as caught:
        compile_filter(wrong)
    assert caught.value.exit_code == 125


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from([*ACTIONS, *OPERATORS, "read"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["defaultAction", "defaultErrnoRet", "architectures", "flags", "listenerPath", "syscalls"]
RULE = st.dictionaries(st.sampled_from(["names", "action", "errnoRet", "args"]), JSON)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON | st.lists(RULE, max_size=2)))
def test_any_json_is_compiled_or_refused_with_a_sentence(document: dict[str, object]) -> None:
    problem, program = "", b""
    try:
        program = compile_filter(document).program
    except MinirunError as error:
        problem = error.message
    assert "linux.seccomp" in problem or "system call" in problem or len(program) >= 8


def test_a_program_too_long_for_the_kernel_is_refused() -> None:
    rules = [
        allow(name, args=[compare(index, "SCMP_CMP_EQ", number << 32 | index) for index in range(3)])
        for name, number in NUMBERS.items()
    ]
    with pytest.raises(MinirunError, match=r"a program of \d+: the kernel takes 4096 instructions"):
        compile_filter(profile(*rules, architectures=[]))


# ---- the cache ------------------------------------------------------------------------------------------------------


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every profile that went through the compiler."""
    seen: list[object] = []
    real = seccomp.compile_filter
    monkeypatch.setattr(seccomp, "compile_filter", lambda oci: (seen.append(oci), real(oci))[1])
    return seen


def entries(cache: Path) -> list[Path]:
    return sorted((cache / "seccomp").iterdir())


def test_a_filter_is_compiled_once(tmp_path: Path, compiled: list[object]) -> None:
    wanted = profile(NOTIFY_MKDIR, listenerPath="/run/l.sock", listenerMetadata="box")
    first, second = filter_for(str(tmp_path), wanted), filter_for(str(tmp_path), wanted)
    assert first == second == compile_filter(wanted)
    assert len(compiled) == 1
    assert filter_for(str(tmp_path), profile(allow("getpid"))) != first
    assert len(compiled) == 2
    assert (tmp_path / "seccomp").stat().st_mode & 0o777 == 0o700


def test_without_a_cache_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    filter_for("", profile(allow("getpid")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("position", [0, 9, 13, 17, 40, -300, -9, -1])
def test_a_damaged_entry_is_made_again(tmp_path: Path, compiled: list[object], position: int) -> None:
    wanted = profile(allow("getpid"))
    good = filter_for(str(tmp_path), wanted)
    (entry,) = entries(tmp_path)
    content = bytearray(entry.read_bytes())
    content[position] ^= 1
    entry.write_bytes(content)
    assert filter_for(str(tmp_path), wanted) == good
    assert len(compiled) == 2
    assert filter_for(str(tmp_path), wanted) == good
    assert len(compiled) == 2


@pytest.mark.parametrize("length", [0, 7, 28, 200, -8])
def test_a_cut_off_entry_is_made_again(tmp_path: Path, compiled: list[object], length: int) -> None:
    wanted = profile(allow("getpid"))
    good = filter_for(str(tmp_path), wanted)
    (entry,) = entries(tmp_path)
    entry.write_bytes(entry.read_bytes()[:length])
    assert filter_for(str(tmp_path), wanted) == good
    assert len(compiled) == 2


def test_an_entry_serves_no_other_profile(tmp_path: Path) -> None:
    """Two profiles may share a file name; then the one that asked last has it."""
    strict, loose = profile(allow("getpid")), profile(defaultAction="SCMP_ACT_ALLOW")
    filter_for(str(tmp_path), loose)
    (entry,) = entries(tmp_path)
    content = entry.read_bytes()
    filter_for(str(tmp_path), strict)
    (other,) = (path for path in entries(tmp_path) if path != entry)
    other.write_bytes(content)
    assert run(filter_for(str(tmp_path), strict).program, NUMBERS["mount"]) != ALLOW


def test_a_changed_library_makes_filters_anew(
    tmp_path: Path, compiled: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    from minirun.kernel import seccomp as compiler

    library = tmp_path / "libseccomp.so.2.5.4"
    library.write_bytes(b"one")
    monkeypatch.setattr(compiler, "library_path", lambda: str(library))
    for _ in range(2):
        filter_for(str(tmp_path / "cache"), profile(allow("getpid")))
    assert len(compiled) == 1
    library.write_bytes(b"another")
    filter_for(str(tmp_path / "cache"), profile(allow("getpid")))
    assert len(compiled) == 2
    library.unlink()
    filter_for(str(tmp_path / "cache"), profile(allow("getpid")))
    assert len(compiled) == 3


def test_a_directory_that_others_can_write_to_is_not_trusted(tmp_path: Path, compiled: list[object]) -> None:
    wanted = profile(allow("getpid"))
    filter_for(str(tmp_path), wanted)
    os.chmod(tmp_path / "seccomp", 0o770)
    filter_for(str(tmp_path), wanted)
    assert len(compiled) == 2


def test_a_symbolic_link_is_not_followed(tmp_path: Path, compiled: list[object]) -> None:
    wanted = profile(allow("getpid"))
    filter_for(str(tmp_path), wanted)
    (entry,) = entries(tmp_path)
    entry.rename(tmp_path / "elsewhere")
    entry.symlink_to(tmp_path / "elsewhere")
    filter_for(str(tmp_path), wanted)
    assert len(compiled) == 2
    assert not entry.is_symlink()


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "seccomp").write_bytes(b"")
    assert run(filter_for(str(tmp_path), profile(allow("getpid"))).program, NUMBERS["getpid"]) == ALLOW


def test_the_cache_does_not_grow_for_ever(tmp_path: Path) -> None:
    for number in range(70):
        filter_for(str(tmp_path), profile(allow("getpid"), defaultErrnoRet=number, architectures=[]))
    assert len(entries(tmp_path)) == 64
    for path in entries(tmp_path):
        assert struct.unpack_from("=8s", path.read_bytes())[0] == b"seccomp1"


def test_a_hit_does_not_import_the_compiler(tmp_path: Path) -> None:
    import subprocess
    import sys

    script = (
        "import sys; from minirun.runtime.seccomp.cache import filter_for;"
        "filter_for(sys.argv[1], {'defaultAction': 'SCMP_ACT_ALLOW'});"
        "print('minirun.kernel._seccomp' in sys.modules, 'hashlib' in sys.modules, 'json' in sys.modules)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    outputs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert outputs == ["True False False\n", "False False False\n"]
