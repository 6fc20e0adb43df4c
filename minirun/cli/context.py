"""What every command shares: where minirun keeps its things, and what `--debug` and `--explain` ask for."""

from __future__ import annotations

import os

import click

from minirun.cli.errors import report
from minirun.errors import MinirunError
from minirun.model.layout import Layout
from minirun.storage.privacy import close_to_others

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from minirun.explain.printer import Printer


class Settings:
    """The global options of this invocation."""

    def __init__(self, layout: Layout | None = None) -> None:
        self.layout = layout or Layout()
        self.debug = False
        self.failure_code = 1
        self._printer: Printer | None = None

    def explain(self, style: str) -> None:
        """Tell every further operation on standard error, as a "story" or as "json"."""
        from minirun.explain.printer import Printer

        if self._printer is None:
            self._printer = Printer.start(style)

    def close(self) -> None:
        """Wait until everything that was watched has been told."""
        if self._printer is not None:
            self._printer.finish()
            self._printer = None


def settings(ctx: click.Context | None = None) -> Settings:
    """Return the settings of this invocation."""
    root = (ctx or click.get_current_context()).find_root()
    if not isinstance(root.obj, Settings):
        root.obj = Settings()
    return root.obj


def layout() -> Layout:
    """Return where this installation keeps its things, for commands that anybody may use."""
    found = settings().layout
    if os.geteuid() == 0:
        close_to_others(found)
    return found


def host_layout() -> Layout:
    """Return where this installation keeps its things, for commands that need root; MinirunError for anybody else."""
    if os.geteuid() != 0:
        ctx = click.get_current_context()
        raise MinirunError(f"'{ctx.command_path}' needs root", f"Try 'sudo {ctx.command_path} ...'.")
    return layout()


def swept_layout() -> Layout:
    """Return what `host_layout` does, after unmaking what killed commands have left behind."""
    from minirun.engine.shim import cleanup

    found = host_layout()
    cleanup.collect(found)
    return found


def for_each(names: Iterable[str], act: Callable[[str], object]) -> None:
    """Do `act` for each name as Docker does: an error is reported, the others get their turn, the end is 1."""
    failed = False
    for name in names:
        try:
            act(name)
        except MinirunError as error:
            if settings().debug:
                raise
            report(error)
            failed = True
    if failed:
        raise click.exceptions.Exit(1)
