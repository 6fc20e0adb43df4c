"""Device rules become a program that decides as the specification does: the last rule that matches wins."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.errors import MinirunError
from minirun.kernel import bpf
from minirun.runtime.cgroup.devices.access import restrict
from minirun.runtime.cgroup.devices.program import compile_rules
from minirun.runtime.cgroup.devices.rules import check
from minirun.runtime.cgroup.devices.v1 import lines_of

if TYPE_CHECKING:
    from pathlib import Path

LETTERS = {"m": 1, "r": 2, "w": 4}
KINDS = {"b": 1, "c": 2}
DENY_ALL: dict[str, Any] = {"allow": False, "access": "rwm"}


def allowed(program: bytes, kind: str, access: str, major: int, minor: int) -> bool:
    """Run a program as the kernel does (Documentation/bpf/standardization/instruction-set.rst)."""
    bits = sum(LETTERS[letter] for letter in access)
    context = struct.pack("<III", bits << 16 | KINDS[kind], major, minor)
    code = list(struct.iter_unpack("<BBhi", program))
    registers = [0] * 11
    at = 0
    while True:
        operation, names, offset, constant = code[at]
        target, source = names & 15, names >> 4
        at += 1
        if operation == 0x61:  # load a word of the context, which r1 points to
            (registers[target],) = struct.unpack_from("<I", context, offset)
        elif operation == 0xBF:
            registers[target] = registers[source]
        elif operation == 0xB7:
            registers[target] = constant
        elif operation == 0x57:
            registers[target] &= constant & 0xFFFFFFFFFFFFFFFF
        elif operation == 0x77:
            registers[target] >>= constant
        elif operation in (0x15, 0x55):
            at += offset if (registers[target] == constant) == (operation == 0x15) else 0
        elif operation == 0x95:
            return registers[0] == 1
        else:
            raise AssertionError(f"instruction {operation:#x}")


def reference(rules: list[dict[str, Any]], kind: str, access: str, major: int, minor: int) -> bool:
    """Decide each letter by itself: the last rule that matches it wins, and what none matches is denied."""
    for letter in access:
        decision = False
        for rule in rules:
            matches = (
                rule.get("type", "a") in ("a", kind)
                and rule.get("major", major) in (-1, major)
                and rule.get("minor", minor) in (-1, minor)
                and letter in rule.get("access", "rwm")
            )
            if matches:
                decision = rule["allow"]
        if not decision:
            return False
    return True


numbers = st.integers(-1, 3)
accesses = st.sets(st.sampled_from("rwm"), min_size=1).map("".join)
rule_lists = st.lists(
    st.fixed_dictionaries(
        {"allow": st.booleans()},
        optional={"type": st.sampled_from("abc"), "major": numbers, "minor": numbers, "access": accesses},
    ),
    max_size=8,
)


@given(rules=rule_lists, kind=st.sampled_from("bc"), access=accesses, major=st.integers(200, 203), data=st.data())
def test_the_last_rule_that_matches_wins(
    rules: list[dict[str, Any]], kind: str, access: str, major: int, data: st.DataObject
) -> None:
    # Numbers from 200 on: some below are allowed whatever the rules say. So is making any node, "m".
    rules = [rule | ({"major": rule["major"] + 200} if rule.get("major", -1) >= 0 else {}) for rule in rules]
    minor = data.draw(st.integers(0, 3))
    always = [{"allow": True, "type": kind, "access": "m"} for kind in "bc"]
    unlimited = rules and compile_rules(rules) == compile_rules([{"allow": True}])
    expected = reference(rules if unlimited else rules + always, kind, access, major, minor)
    assert allowed(compile_rules(rules), kind, access, major, minor) == expected


@given(rule_lists, st.sampled_from("bc"), st.sampled_from("mrw"), st.integers(200, 203), st.integers(0, 3))
def test_where_the_controller_of_v1_decides_alone_it_decides_as_the_specification_does(
    rules: list[dict[str, Any]], kind: str, letter: str, major: int, minor: int
) -> None:
    rules = [rule | ({"major": rule["major"] + 200} if rule.get("major", -1) >= 0 else {}) for rule in rules]
    lines, exact = lines_of(rules)
    if exact:
        allowed_by = [line for line in lines if line == "a" or line_allows(line, kind, letter, major, minor)]
        always = [{"allow": True, "type": kind, "access": "m"} for kind in "bc"]
        assert bool(allowed_by) is reference(rules + always, kind, letter, major, minor)


def line_allows(line: str, kind: str, letter: str, major: int, minor: int) -> bool:
    """Say what a line of devices.allow means for a device and one letter (cgroup-v1/devices.rst)."""
    own_kind, numbers, letters = line.split()
    matches = all(own in ("*", str(number)) for own, number in zip(numbers.split(":"), (major, minor), strict=True))
    return own_kind == kind and matches and letter in letters


def test_two_rules_that_allow_a_letter_each_allow_both_at_once() -> None:
    rules = [DENY_ALL, *({"allow": True, "type": "c", "major": 200, "minor": 1, "access": letter} for letter in "rw")]
    assert allowed(compile_rules(rules), "c", "rw", 200, 1)
    assert not allowed(compile_rules(rules), "c", "rw", 200, 2)


@pytest.mark.parametrize("rules", [[], [DENY_ALL]])
def test_harmless_devices_are_always_allowed_and_disks_never(rules: list[dict[str, Any]]) -> None:
    program = compile_rules(rules)
    for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, 0), (136, 7)):
        assert allowed(program, "c", "rw", major, minor)
    assert allowed(program, "b", "m", 8, 0)
    assert not allowed(program, "b", "r", 8, 0)
    assert not allowed(program, "c", "r", 1, 1)
    assert not allowed(program, "c", "w", 1, 11)


def test_everything_is_allowed_if_the_last_rule_says_so() -> None:
    assert allowed(compile_rules([DENY_ALL, {"allow": True, "access": "rwm"}]), "b", "rwm", 8, 0)


def test_other_letters_mean_nothing_and_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    rules = [DENY_ALL, {"allow": True, "access": "rax"}, {"allow": False, "access": "x"}]
    check(rules)
    program = compile_rules(rules)
    assert allowed(program, "b", "r", 8, 0)
    assert not allowed(program, "b", "w", 8, 0)
    assert "access 'rax'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"allow": True, "type": "x"}, "type 'x'"),
        ({"allow": True, "access": 7}, "access is not a string"),
        ({"allow": True, "type": "c", "major": "8"}, "'8'"),
        ({"allow": True, "type": "c", "minor": 2**40}, "not a device number"),
        ({"type": "c"}, "allow"),
    ],
)
def test_a_wrong_rule_is_refused_by_its_field(rule: dict[str, Any], problem: str) -> None:
    with pytest.raises(MinirunError, match=problem):
        check([rule])


ALWAYS, ALWAYS_EXACT = lines_of([])


@pytest.mark.parametrize(
    ("rules", "lines", "exact"),
    [
        ([{"allow": False}], [], True),
        ([{"allow": False}, {"allow": True, "type": "c", "major": 1, "minor": 3}], ["c 1:3 rwm"], True),
        ([{"allow": True, "type": "b", "major": 8, "access": "r"}, {"allow": False}], [], True),
        ([{"allow": False}, {"allow": True, "major": 8, "access": "r"}], ["b 8:* r", "c 8:* r"], True),
        ([{"allow": False, "type": "c", "major": 4}], [], True),
        (
            [{"allow": True, "type": "c", "major": 4}, {"allow": False, "type": "c", "major": 4, "minor": 1}],
            ["c 4:* rwm"],
            False,
        ),
    ],
)
def test_lines_for_the_controller_of_v1(rules: list[dict[str, Any]], lines: list[str], exact: bool) -> None:
    assert lines_of(rules) == ([*lines, *ALWAYS], exact)


def test_other_letters_are_not_for_the_controller_of_v1() -> None:
    rules = [{"allow": True, "type": "c", "major": 4, "access": access} for access in ("rwa", "a")]
    assert lines_of(rules) == (["c 4:* rw", *ALWAYS], True)


def test_all_devices_for_the_controller_of_v1() -> None:
    assert lines_of([{"allow": False}, {"allow": True}]) == (["a"], True)
    assert lines_of([{"allow": True}, {"allow": False, "type": "c"}]) == (["a"], False)
    assert lines_of([{"allow": True}, {"allow": False}]) == (ALWAYS, True)


def test_the_controller_of_v1_decides_alone_where_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted", "bpf")

    monkeypatch.setattr(bpf, "attach_device_program", refuse)
    for name in ("devices.deny", "devices.allow"):
        (tmp_path / name).touch()
    restrict(-1, [{"allow": False}], str(tmp_path))
    assert (tmp_path / "devices.deny").read_text() == "a"
    too_much = [{"allow": True, "type": "c"}, {"allow": False, "type": "c", "major": 4}]
    with pytest.raises(MinirunError, match="bpf"):
        restrict(-1, too_much, str(tmp_path))
    with pytest.raises(MinirunError, match="bpf"):
        restrict(-1, [{"allow": False}])
