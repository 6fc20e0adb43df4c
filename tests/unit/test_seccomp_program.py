"""What a profile says and what the compiled program answers are the same thing."""

from __future__ import annotations

import pytest
from bpf_machine import ALLOW, ENOSYS, EPERM, I386, X32, X86_64, run, syscall_names
from hypothesis import given, settings
from hypothesis import strategies as st
from seccomp_profiles import NOTIFY_MKDIR, allow, profile

from minirun.errors import MinirunError
from minirun.kernel.seccomp import NEW_SYSCALLS
from minirun.runtime.seccomp.cache import compile_filter

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
    """runc takes them this way, and Docker's users write profiles that rely on it."""
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
