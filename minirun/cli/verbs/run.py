"""`run` and `create` as click commands; `running` does their work."""

from __future__ import annotations

import click

from minirun.cli.command import Command
from minirun.cli.context import host_layout
from minirun.cli.running import (
    DEFAULTS,
    LISTS,
    NUMBERS,
    RUN_SWITCHES,
    RUN_TEXTS,
    SWITCHES,
    TEXTS,
    advised,
    request_of,
    run_container,
    write_cidfile,
)
from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def container_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that describe a container, those that are refused by name among them."""
    from minirun.engine.request.options import NOT_BUILT

    options = [_switch(flags, text) for flags, text in SWITCHES]
    options += [click.option(*flags.split("/"), help=text, hidden=not text) for flags, text in TEXTS]
    options += [click.option(*flags.split("/"), type=int, help=text) for flags, text in NUMBERS]
    options += [click.option(*flags.split("/"), multiple=True, help=text, hidden=not text) for flags, text in LISTS]
    options += [click.option("--oom-score-adj", type=int, default=0, help="Adjust the OOM killer's preference.")]
    options += [click.option(flag, hidden=True) for flag in NOT_BUILT.values()]
    return _with(function, options)


def run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `run` alone."""
    options = [_switch(flags, text) for flags, text in RUN_SWITCHES]
    options += [click.option(*flags.split("/"), default="", help=text) for flags, text in RUN_TEXTS]
    return _with(function, options)


def _switch(flags: str, text: str | None) -> Callable[..., Any]:
    default = DEFAULTS.get(flags.rpartition("--")[2].replace("-", "_"), False)
    return click.option(*flags.split("/"), is_flag=True, default=default, help=text, hidden=not text)


def _with(function: Callable[..., Any], options: list[Callable[..., Any]]) -> Callable[..., Any]:
    for option in reversed(options):
        function = option(function)
    return function


@click.command(
    cls=Command,
    failure_code=125,
    short_help="Run a command in a new container",
    context_settings={"allow_interspersed_args": False},
)
@container_options
@run_options
@click.argument("image")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND [ARG...]]")
def run(image: str, command: tuple[str, ...], **options: Any) -> int:
    """Create a container from IMAGE, run COMMAND in it and wait for its end."""
    return run_container(image, command, options, host_layout())


@click.command(
    cls=Command,
    short_help="Make a container without starting it",
    context_settings={"allow_interspersed_args": False},
)
@container_options
@click.argument("image")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND [ARG...]]")
def create(image: str, command: tuple[str, ...], **options: Any) -> None:
    """Create a container from IMAGE without starting it, and print its id."""
    request = request_of(image, command, options | {"detach": False})
    layout = host_layout()
    from minirun.engine.container import creating

    try:
        record = creating.create(layout, request)
    except MinirunError as error:
        raise advised(error, layout, image, command) from error
    write_cidfile(options["cidfile"], record.id)
    click.echo(record.id)
