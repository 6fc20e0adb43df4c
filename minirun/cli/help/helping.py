"""`help`, and `container`: other ways to what `minirun --help` lists."""

from __future__ import annotations

import copy

import click

from minirun.cli.command import Command, Group

_CONTAINER = (
    "attach create exec inspect kill logs ls pause port rename restart rm run start stats stop top unpause wait".split()
)


@click.command("help", cls=Command, hidden=True, context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, metavar="[COMMAND...]", type=click.UNPROCESSED)
@click.pass_context
def help_(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Show the help of a COMMAND, as its --help does."""
    place = ctx.find_root()
    for word in words:
        group = place.command
        if not isinstance(group, click.Group):
            break
        name, command, _ = group.resolve_command(place, [word])
        if command is not None:
            place = click.Context(command, info_name=name, parent=place, **command.context_settings)
    click.echo(place.get_help())


class _Container(Group):
    """The commands about containers, by the names that they have in Docker's group."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return _CONTAINER

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        from minirun.cli.main import cli

        name = {"list": "ls", "ps": "ls", "remove": "rm"}.get(cmd_name, cmd_name)
        if name not in _CONTAINER:
            return None
        command = cli.get_command(ctx, {"ls": "ps"}.get(name, name))
        if name != "inspect" or command is None:
            return command
        command = copy.copy(command)
        command.context_settings = {"default_map": {"kind": "container"}}
        return command


@click.command(cls=_Container, short_help="Manage containers")
def container() -> None:
    """Manage containers: the commands that are also there without this word."""
