"""The quick reading of `run`'s command line says what click says, or nothing."""

from __future__ import annotations

import click
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minirun.cli import quick
from minirun.cli.errors import FlagError
from minirun.cli.verbs.run import run
from minirun.errors import MinirunError

FLAGS = sorted({name for option in run.params if isinstance(option, click.Option) for name in option.opts})
VALUES = st.sampled_from(["1", "0", "true", "False", "x", "", "-1", "8080:80", "a=b", "512m", "--", "-", "07", "1.5"])
WORDS = st.one_of(
    st.sampled_from(FLAGS),
    VALUES,
    st.builds("{}={}".format, st.sampled_from(FLAGS), VALUES),
    st.builds("-{}{}".format, st.sampled_from(["it", "itd", "e", "p", "m", "c", "ip", "xi", "h", "u"]), VALUES),
)


def by_click(words: list[str]) -> tuple[str, tuple[str, ...], dict[str, object]] | None:
    try:
        with run.make_context("run", list(words)) as ctx:
            options = dict(ctx.params)
    except (click.exceptions.Exit, click.ClickException, FlagError, MinirunError):
        return None
    assert not options.pop("explain")
    assert not options.pop("debug")
    return options.pop("image"), options.pop("command"), options


@given(st.lists(WORDS, max_size=8))
@example(["--rm", "-itp", "80:80", "-e=A=b", "--sig-proxy=false", "image", "--rm"])
@example(["-c", "5", "--net=host", "--dns-opt", "x", "--", "-image"])
def test_the_quick_reading_agrees_with_click(words: list[str]) -> None:
    if not {"--explain", "--debug", "--help"} & {word.partition("=")[0] for word in words}:
        found = quick.read_command_line(words)
        assert found is None or found == by_click(words)


@pytest.mark.parametrize(
    "line", ["--rm busybox true", "-d -p 80:80 --name web nginx", "-it -m=64m --cpus 1.5 x sh -c ls", "-- image -d"]
)
def test_usual_lines_are_read_quickly(line: str) -> None:
    found = quick.read_command_line(line.split())
    assert found is not None
    assert found == by_click(line.split())


@pytest.mark.parametrize("line", ["", "--rm", "--nope x", "--rm=maybe x", "--pids-limit many x", "--help", "-m"])
def test_what_is_not_in_order_is_left_to_click(line: str) -> None:
    assert quick.read_command_line(line.split()) is None
