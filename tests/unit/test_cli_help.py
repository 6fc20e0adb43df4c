"""`--help`: groups, order, names of values, examples that work."""

from __future__ import annotations

import shlex

import click
import pytest

from minirun.cli import quick
from minirun.cli.help.help_text import _GROUPS, EXAMPLES, METAVARS, long_name
from minirun.cli.main import COMMANDS, cli, main

ROOT = click.Context(cli)


def command(name: str) -> click.Command:
    found = cli.get_command(ROOT, name)
    assert found is not None
    return found


def options(name: str) -> list[click.Option]:
    return [option for option in command(name).params if isinstance(option, click.Option) and not option.hidden]


@pytest.mark.parametrize("name", ["run", "create"])
def test_every_option_is_in_one_group(name: str) -> None:
    grouped = [f"--{option}" for group in _GROUPS.values() for option in group.split()]
    assert len(grouped) == len(set(grouped))
    own = {long_name(option) for option in options(name)} - {"--help", "--explain", "--debug"}
    assert own <= set(grouped)
    if name == "run":
        assert own == set(grouped)


@pytest.mark.parametrize("name", COMMANDS)
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
    nested = [inner for name in ("image", "container") for inner in command(name).commands.values()]  # type: ignore[attr-defined]
    found = {long_name(o) for name in COMMANDS for o in options(name)}
    found |= {name for each in nested for o in each.params for name in o.opts} | {"--root", "--state"}
    assert METAVARS.keys() <= found


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line, _ in lines])
def test_examples_are_right(line: str) -> None:
    words = shlex.split(line.partition("|")[2] or line.removeprefix("source <(").rstrip(")"))
    words = words[words.index("minirun") + 1 :]
    words = [word for word in words if word != "--explain"]
    if words[0] == "run":
        assert quick.read_command_line(words[1:]) is not None
    else:
        with command(words[0]).make_context(words[0], [*words[1:], *(["x"] if words[0] == "rm" else [])]):
            pass
