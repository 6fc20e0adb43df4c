"""The `minirun` executable: which commands there are, and the one place where errors become messages and exit codes.

A command's module is imported when the command is called and not before: `minirun run` must not pay for the others.
"""

from __future__ import annotations

import os
import sys

import click

from minirun import __version__
from minirun.cli.command import Group
from minirun.cli.context import Settings
from minirun.cli.errors import code_of, report
from minirun.model.layout import DEFAULT_ROOT, DEFAULT_STATE, Layout

# What `minirun --help` lists, by section: command -> module:attribute.
SECTIONS = {
    "Containers": {
        "run": "verbs.run:run",
        "create": "verbs.run:create",
        "start": "verbs.containers:start",
        "stop": "verbs.containers:stop",
        "restart": "verbs.containers:restart",
        "kill": "verbs.containers:kill",
        "pause": "verbs.containers:pause",
        "unpause": "verbs.containers:unpause",
        "rm": "verbs.containers:rm",
        "ps": "verbs.containers:ps",
        "exec": "verbs.containers:exec_",
        "attach": "verbs.containers:attach",
        "logs": "verbs.logs:logs",
        "inspect": "verbs.containers:inspect",
        "port": "verbs.containers:port",
        "wait": "verbs.containers:wait",
        "top": "verbs.processes:top",
        "stats": "verbs.processes:stats",
        "rename": "verbs.containers:rename",
        "container": "help.helping:container",
    },
    "Images": {
        "load": "verbs.images:load",
        "import": "verbs.images:import_",
        "images": "verbs.images:images",
        "image": "verbs.images:image",
        "history": "verbs.images:history",
        "tag": "verbs.images:tag",
        "rmi": "verbs.images:rmi",
    },
    "minirun": {
        "explain": "verbs.explaining:explain",
        "info": "verbs.system:info",
        "version": "verbs.system:version",
        "completion": "verbs.system:completion",
    },
}
COMMANDS = {name: place for section in SECTIONS.values() for name, place in section.items()}
_HIDDEN = {"__complete": "verbs.system:complete", "help": "help.helping:help_"}


class Minirun(Group):
    """The table of commands as a click group."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        place = COMMANDS.get(cmd_name) or _HIDDEN.get(cmd_name)
        if place is None:
            return None
        from importlib import import_module

        module, attribute = place.split(":")
        command: click.Command = getattr(import_module(f"minirun.cli.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, names in SECTIONS.items():
            self.write_commands(section, names, ctx, formatter)


@click.command(cls=Minirun, context_settings={"max_content_width": 120})
@click.option("--root", envvar="MINIRUN_ROOT", default=DEFAULT_ROOT, show_default=True, help="Images and containers.")
@click.option("--state", envvar="MINIRUN_STATE", default=DEFAULT_STATE, show_default=True, help="What runs now.")
@click.version_option(__version__, "-v", "--version", message="minirun version %(version)s")
@click.pass_context
def cli(ctx: click.Context, root: str, state: str) -> None:
    """A container runtime that teaches: run a container, and see every kernel operation that made it."""
    ctx.obj.layout = Layout(os.path.abspath(root), os.path.abspath(state))


def main(args: list[str]) -> int:
    """Run the command line and return Docker's exit code: 125, 126, 127, the command's own, or 1."""
    chosen = Settings()
    try:
        return _run(args, chosen)
    finally:
        chosen.close()


def _run(args: list[str], chosen: Settings) -> int:
    try:
        with cli.make_context("minirun", args, obj=chosen) as ctx:
            result = cli.invoke(ctx)
            sys.stdout.flush()
            return result if isinstance(result, int) else 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.UsageError as error:
        from minirun.cli.help.mistakes import usage_error

        wrong = usage_error(error, args)
        report(wrong)
        return wrong.exit_code
    except click.Abort:
        return 130
    except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - the one place where errors end
        places = (chosen.layout.root, chosen.layout.state)
        return code_of(error, chosen.failure_code, debug=chosen.debug, places=places)
