"""`--help`: groups, order, names of values, examples that work."""

from __future__ import annotations

import shlex

import pytest

from minirun.cli.grammar import Flag, Verb, parse
from minirun.cli.help.help_text import _GROUPS, METAVARS
from minirun.cli.main import main
from minirun.cli.verbs.table import MINIRUN, Group


def verb(name: str) -> Verb:
    found = MINIRUN.find(name)
    assert isinstance(found, Verb)
    return found


def flags(here: Verb | Group) -> list[Flag]:
    return [flag for flag in here.flags if flag.about]


ALL = [found for name in MINIRUN.verbs if (found := MINIRUN.find(name)) is not None]
NESTED = [inner for group in ALL if isinstance(group, Group) for name in group.verbs if (inner := group.find(name))]


@pytest.mark.parametrize("name", ["run", "create"])
def test_every_option_is_in_one_group(name: str) -> None:
    grouped = [key for group in _GROUPS.values() for key in group.split()]
    assert len(grouped) == len(set(grouped))
    own = {flag.key for flag in flags(verb(name))}
    assert own <= set(grouped)
    if name == "run":
        assert own == set(grouped)


@pytest.mark.parametrize("name", MINIRUN.verbs)
def test_every_value_has_a_name_and_options_are_in_order(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main([name, "--help"]) == 0
    told = capsys.readouterr().out
    assert " TEXT" not in told
    assert " INTEGER" not in told
    if name not in ("run", "create"):
        shown = [line.split("--")[1].split()[0] for line in told.splitlines() if line.startswith("  -")]
        own = [option for option in shown if option not in ("help", "explain", "debug")]
        assert own == sorted(own)


def test_names_of_values_are_of_options_that_are_there() -> None:
    found = {f"--{flag.key}" for here in [MINIRUN, *ALL, *NESTED] for flag in flags(here) if flag.kind != "switch"}
    assert METAVARS.keys() == found


@pytest.mark.parametrize("line", [line for here in ALL if isinstance(here, Verb) for line, _ in here.examples])
def test_examples_are_right(line: str) -> None:
    parts = [part for part in line.removeprefix("source <(").rstrip(")").split("|") if "minirun" in part]
    words = shlex.split(parts[-1])
    words = words[words.index("minirun") + 1 :]
    name, *rest = [word for word in words if word != "--explain"]
    parsed = parse(rest, verb(name).flags, interspersed=verb(name).interspersed)
    assert verb(name).takes(len(parsed.arguments) + (name == "rm"))  # which xargs gives names
