"""What is said about a wrong command line: suggestions are close and harmless, Docker's words are known."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.cli.help.advice import RECIPES
from minirun.cli.help.mistakes import DESTRUCTIVE
from minirun.cli.main import main
from minirun.cli.verbs.table import MINIRUN
from minirun.model.spelling import closest, edits

CHECKOUT = Path(__file__).resolve().parent.parent.parent
DOCKER = """
    run exec ps build pull push images login logout search version info builder checkpoint container context image
    manifest network plugin system trust volume config node secret service stack swarm attach commit cp create diff
    events export history import inspect kill load logs pause port rename restart rm rmi save start stats stop tag top
    unpause update wait
""".split()


def said(capsys: pytest.CaptureFixture[str], line: str) -> str:
    assert main(line.split()) in (1, 125)
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 2
    return err


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("rum busybox", "Did you mean 'minirun run'?"),
        ("inspekt x", "Did you mean 'minirun inspect'?"),
        ("strat x", "Did you mean 'minirun start'?"),
        ("contaner ls", "Did you mean 'minirun container'?"),
        ("kil x", "Did you mean 'minirun kill'?"),
        ("bild .", "Did you mean 'minirun build'?"),
        ("nonsense", "See 'minirun --help' for what there is."),
        ("ls", "'minirun ps' lists containers"),
        ("remove x", "'minirun rm' removes containers"),
        ("search", "brings an image from a registry"),
        ("update x", "--memory"),
        ("container purge", "See 'minirun container --help'"),
        ("help nonsense", "See 'minirun --help'"),
        ("--name x run busybox", "It is a flag of 'run' and goes after it: minirun run --name ..."),
        ("-itd run busybox", "It is a flag of 'run' and goes after it: minirun run -itd ..."),
        ("-a ps", "It is a flag of 'ps' and goes after it: minirun ps -a ..."),
        ("-H tcp://x ps", "without a daemon"),
        ("run --publsh 80 x", "Did you mean --publish?"),
        ("run -p busybox", "'busybox' is the value of -p here. See 'minirun run --help'."),
        ("run -x busybox", "hint: See 'minirun run --help'."),
        ("nope", "hint: See 'minirun --help' for what there is."),
        ("--root", "hint: See 'minirun --help'."),
        ("--explain=loud ps", "it is story or json"),
        ("ps --nothing-like-it", "See 'minirun ps --help'."),
        ("load x.tar", "An archive is named by -i FILE"),
    ],
)
def test_hints(capsys: pytest.CaptureFixture[str], line: str, hint: str) -> None:
    assert hint in said(capsys, line)


@pytest.mark.parametrize("name", DOCKER)
def test_every_command_of_docker_is_here_or_told_of(capsys: pytest.CaptureFixture[str], name: str) -> None:
    if name not in MINIRUN.verbs:
        assert f"minirun: 'minirun {name}' is not there yet.\nhint: " in said(capsys, name)


@pytest.mark.parametrize("words", [["help", "run"], ["help", "container", "ls"], ["help", "image", "rm"]], ids=" ".join)
def test_help_shows_what_the_flag_does(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main(words) == 0
    told = capsys.readouterr().out
    assert main([*words[1:], "--help"]) == 0
    assert capsys.readouterr().out == told
    assert told.startswith(f"Usage: minirun {' '.join(words[1:])} ")


def test_help_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help"]) == 0
    told = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == told


@given(st.text(max_size=8), st.text(max_size=8))
def test_edits(one: str, other: str) -> None:
    assert edits(one, other) == edits(other, one)
    assert (edits(one, other) == 0) == (one == other)
    assert abs(len(one) - len(other)) <= edits(one, other) <= max(len(one), len(other))


@given(st.text(min_size=2, max_size=8), st.integers(0, 6))
def test_neighbours_that_are_swapped_are_one_edit(word: str, at: int) -> None:
    at = min(at, len(word) - 2)
    assert edits(word, word[:at] + word[at + 1] + word[at] + word[at + 2 :]) <= 1


@given(st.text("rmikl", min_size=1, max_size=5))
def test_what_destroys_is_suggested_for_one_edit_only_and_after_all_others(word: str) -> None:
    found = closest(word, MINIRUN.verbs, DESTRUCTIVE)
    if found in {"rm", "rmi", "kill"} - {word}:
        assert edits(word, found) == 1
        assert all(edits(word, name) > 1 for name in MINIRUN.verbs.keys() - {"rm", "rmi", "kill"})


def test_the_recipes_are_known() -> None:
    assert set(RECIPES) == {path.name for path in (CHECKOUT / "images").iterdir()} - {"build"}
