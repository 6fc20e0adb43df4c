"""The grammar of minirun-oci's command line, which is that of Go's flag package, and JSON without `json`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.cli.grammar import GO, many, parse, switch, text
from minirun.errors import MinirunError
from minirun.model import jsontext
from minirun.model.spec import Capabilities, Process, Rlimit
from minirun.runtime.create.init_plan import grantable_capabilities
from minirun.runtime.process import limits

FLAGS = (text("--root"), switch("--force/-f"), many("--env/-e"))


@pytest.mark.parametrize("words", [["--root", "X"], ["--root=X"], ["-root", "X"], ["-root=X"]])
def test_a_value_is_given_in_four_ways(words: list[str]) -> None:
    assert parse(words, FLAGS, GO, interspersed=True).text("root") == "X"


@pytest.mark.parametrize(
    ("words", "value"),
    [(["-f"], True), (["--force"], True), (["--force=true"], True), (["--force=0"], False), ([], False)],
)
def test_switches(words: list[str], value: bool) -> None:
    assert parse(words, FLAGS, GO, interspersed=True).switch("force") is value


def test_flags_after_arguments() -> None:
    assert parse(["ID", "--force"], FLAGS, GO, interspersed=True).arguments == ("ID",)
    assert parse(["ID", "--force"], FLAGS, GO, interspersed=False).arguments == ("ID", "--force")
    assert parse(["--force", "--", "--root"], FLAGS, GO, interspersed=True).arguments == ("--root",)


def test_short_flags_are_not_clustered() -> None:
    with pytest.raises(MinirunError, match="flag provided but not defined: -fe"):
        parse(["-fe", "A=1"], FLAGS, GO)


def test_lists_keep_their_order() -> None:
    assert parse(["-e", "A=1", "--env=B=2"], FLAGS, GO, interspersed=True).many("env") == ("A=1", "B=2")


@given(st.lists(st.text(max_size=8), max_size=6))
def test_any_words_are_read_or_refused(words: list[str]) -> None:
    try:
        parsed = parse(words, FLAGS, GO, interspersed=True)
    except MinirunError:
        return
    assert all(argument in words for argument in parsed.arguments)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_json_is_what_json_makes_of_it(value: Any) -> None:
    assert jsontext.dumps(value) == json.dumps(value, separators=(",", ":"))
    assert jsontext.dumps_for_people(value) == json.dumps(value, indent=2)
    assert jsontext.loads(json.dumps(value, indent=2)) == value


@given(st.text(max_size=30))
def test_text_that_is_not_json_is_a_value_error(text: str) -> None:
    def refuse(constant: str) -> None:  # NaN and the infinities, which json lets through
        raise ValueError(constant)

    try:
        expected = json.loads(text, parse_constant=refuse)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - the words are json's own
            jsontext.loads(text)
    else:
        assert jsontext.loads(text) == expected


def test_lists_of_cpus() -> None:
    assert limits.numbers_of("0-2,7", "field", "CPUs") == {0, 1, 2, 7}
    assert limits.numbers_of("", "field", "CPUs") == set()
    for wrong in ("a", "1-", "-1", "3-1", "1,,2", "0x1", "0-99999999"):
        with pytest.raises(MinirunError, match="field"):
            limits.numbers_of(wrong, "field", "CPUs")


def test_limits_are_checked_by_name() -> None:
    limits.check(Process(args=("x",), cwd="/", rlimits=(Rlimit("RLIMIT_CPU", 1, 2), Rlimit("RLIMIT_AS", 1, 2))))
    with pytest.raises(MinirunError, match=r"rlimits\[1\].*twice"):
        limits.check(Process(args=("x",), cwd="/", rlimits=(Rlimit("RLIMIT_CPU", 1, 2),) * 2))


def test_capabilities_that_cannot_be_granted_are_left_out() -> None:
    sets = Capabilities(bounding=("CAP_CHOWN", "CAP_NEW"), permitted=("CAP_NEW", "CAP_BPF"))
    known, missing = grantable_capabilities(sets, frozenset({"CAP_CHOWN", "CAP_KILL"}))
    assert known == Capabilities(bounding=("CAP_CHOWN",))
    assert missing == ("CAP_NEW", "CAP_BPF")
    assert grantable_capabilities(known, frozenset({"CAP_CHOWN"})) == (known, ())
