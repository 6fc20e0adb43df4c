"""click, taught to read flags as Docker's users type them.

Docker parses its command line with Go's pflag. Three of its habits are not click's: a switch takes a value after an
equals sign (`--sig-proxy=false`, `-i=true`), a short flag may have one too (`-m=512m`), and a bad flag ends with 125
while a wrong number of arguments ends with 1.
"""

from __future__ import annotations

import click

from minirun.cli import interrupts
from minirun.cli.context import settings
from minirun.cli.flags import FALSE, TRUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any


class Command(click.Command):
    """A sub-command: its flags in pflag's syntax, and `--explain` and `--debug` after its name as well as before.

    `failure_code` is the exit code of minirun's own errors in this command: 125 where the exit code otherwise is the
    container's, 1 elsewhere.
    """

    failure_code = 1

    def __init__(self, *args: Any, failure_code: int = 1, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs | {"add_help_option": False})
        self.failure_code = failure_code
        self.params.extend(_common_options(self.params))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        kept, switches = split_switches(self, ctx, args)
        rest = super().parse_args(ctx, kept)
        ctx.params.update(switches)
        return rest

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from minirun.cli.help.help_text import write_options

        write_options(self, ctx, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        _start_watching(ctx)
        settings(ctx).failure_code = self.failure_code
        interrupts.catch()
        return super().invoke(ctx)


class Group(click.Group):
    """A command of commands, such as `image`, whose sub-commands are `Command`s."""

    command_class = Command
    group_class = type

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs | {"add_help_option": False})
        self.params.extend(_common_options(self.params))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from minirun.cli.help.help_text import write_options

        write_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.write_commands("Commands", self.list_commands(ctx), ctx, formatter)

    def write_commands(
        self, title: str, names: Iterable[str], ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write a section with what each command does."""
        found = [(name, self.get_command(ctx, name)) for name in names]
        rows = [(name, command.get_short_help_str(limit=100).rstrip(".")) for name, command in found if command]
        with formatter.section(title):
            formatter.write_dl(rows)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, {"list": "ls", "remove": "rm"}.get(cmd_name, cmd_name))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        kept, switches = split_switches(self, ctx, args or ["--help"])
        rest = super().parse_args(ctx, kept)
        ctx.params.update(switches)
        return rest

    def invoke(self, ctx: click.Context) -> Any:
        _start_watching(ctx)
        return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None:
            from minirun.cli.help.mistakes import unknown_command

            raise unknown_command(ctx.command_path, name, self.list_commands(ctx))
        return super().resolve_command(ctx, args)


def split_switches(
    command: click.Command, ctx: click.Context, args: list[str]
) -> tuple[list[str], dict[str, bool | str]]:
    """Take pflag's `--switch=value` forms out of `args`; return what click can read, and the switches by name."""
    options = {name: option for option in command.get_params(ctx) for name in option.opts}
    todo = list(args)
    kept: list[str] = []
    switches: dict[str, bool | str] = {}
    while todo:
        arg = todo.pop(0)
        is_flag = arg.startswith("-") and arg != "-"
        if arg == "--" or (not is_flag and not ctx.allow_interspersed_args):
            return [*kept, arg, *todo], switches
        if not is_flag:
            kept.append(arg)
            continue
        for name, value in _flags(arg, options):
            option = options.get(name)
            if not isinstance(option, click.Option):
                kept.append(name)  # click says that it does not know it
            elif option.is_flag and value is not None:
                switches[option.name or name] = _switch_value(ctx, option, name, value)
            elif option.is_flag:
                switches.pop(option.name or name, None)
                kept.append(name)
            elif value is not None:
                kept += [name, value]
            else:
                kept += [name, *todo[:1]]
                del todo[:1]
    return kept, switches


def _flags(arg: str, options: dict[str, click.Parameter]) -> Iterator[tuple[str, str | None]]:
    """Take `--name=value` or `-itp8080:80` apart into flags and their attached values."""
    if arg.startswith("--"):
        name, equals, value = arg.partition("=")
        yield name, value if equals else None
        return
    for position in range(1, len(arg)):
        name, rest = f"-{arg[position]}", arg[position + 1 :]
        option = options.get(name)
        takes_value = isinstance(option, click.Option) and not option.is_flag
        if rest.startswith("=") or (takes_value and rest):
            yield name, rest.removeprefix("=")
            return
        yield name, None


def _switch_value(ctx: click.Context, option: click.Option, name: str, value: str) -> bool | str:
    if option.name == "explain" and value in ("story", "json"):
        return value
    if value in TRUE:
        return True
    if value in FALSE:
        return False
    what = "it is story or json" if option.name == "explain" else "it is a switch: true or false"
    raise click.BadParameter(what, ctx=ctx, param_hint=f"{name}={value}")


def _common_options(own: list[click.Parameter]) -> list[click.Parameter]:
    short = [] if any("-h" in option.opts for option in own) else ["-h"]
    # Click's own --help looks for translations of its text at each start, which takes longer than all the parsing.
    helping = click.Option(
        [*short, "--help"], is_flag=True, is_eager=True, expose_value=False, callback=_show_help, help="Show this help."
    )
    return [
        helping,
        click.Option(["--explain"], is_flag=True, help="Tell each request to the kernel; --explain=json for programs."),
        click.Option(["--debug"], is_flag=True, help="Show a traceback when something fails."),
    ]


def _show_help(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(ctx.get_help())
        ctx.exit()


def _start_watching(ctx: click.Context) -> None:
    """Take `--explain` and `--debug` out of the parsed options and do what they ask for."""
    style = ctx.params.pop("explain", False)
    if ctx.params.pop("debug", False):
        settings(ctx).debug = True
    if style:
        settings(ctx).explain("story" if style is True else style)
