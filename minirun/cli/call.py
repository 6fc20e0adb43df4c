"""A call of a verb of `minirun`: what was typed, where the store is, what --debug and --explain ask for."""

from __future__ import annotations

import os
import sys

from minirun.cli.errors import report
from minirun.cli.grammar import Parsed, switch
from minirun.errors import MinirunError
from minirun.model.layout import DEFAULT_ROOT, DEFAULT_STATE, Layout
from minirun.storage.privacy import close_to_others

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from minirun.cli.grammar import Flag
    from minirun.explain.printer import Printer

_COMMON = (
    switch("--explain", "Tell each request to the kernel; --explain=json for programs.", choices=("story", "json")),
    switch("--debug", "Show a traceback when something fails."),
)


def with_common(flags: tuple[Flag, ...]) -> tuple[Flag, ...]:
    """Return the flags of a verb, or of a group of verbs, with those that all of them have."""
    short = "" if any(flag.spelled.startswith("-h/") for flag in flags) else "-h/"
    return (*flags, switch(f"{short}--help", "Show this help."), *_COMMON)


class Settings:
    """The global options of this invocation."""

    def __init__(self) -> None:
        self.layout = Layout()
        self.debug = False
        self.failure_code = 1
        self._printer: Printer | None = None

    def take(self, parsed: Parsed) -> None:
        """Act on the flags that may stand before a verb as well as after it."""
        self.debug = self.debug or parsed.switch("debug")
        style = parsed.values.get("explain")
        if style and self._printer is None:
            from minirun.explain.printer import Printer

            self._printer = Printer.start("story" if style is True else style)

    def place(self, parsed: Parsed) -> None:
        """Note where minirun keeps its files, as the flags or else the environment say."""
        root = parsed.text("root", os.environ.get("MINIRUN_ROOT") or DEFAULT_ROOT)
        state = parsed.text("state", os.environ.get("MINIRUN_STATE") or DEFAULT_STATE)
        self.layout = Layout(os.path.abspath(root), os.path.abspath(state))

    def close(self) -> None:
        """Wait until the whole story has been printed."""
        if self._printer is not None:
            self._printer.finish()
            self._printer = None


class Call(Parsed):
    """What a verb is called with; `path` is how it was reached: "minirun image ls"."""

    path: str
    settings: Settings

    def layout(self) -> Layout:
        """Return where this installation keeps its files, for verbs that anybody may use."""
        found = self.settings.layout
        if os.geteuid() == 0:
            close_to_others(found)
        return found

    def host_layout(self) -> Layout:
        """Return where this installation keeps its files, for verbs that need root. Raises MinirunError."""
        if os.geteuid() != 0:
            raise MinirunError(f"'{self.path}' needs root", f"Try 'sudo {self.path} ...'.")
        return self.layout()

    def swept_layout(self) -> Layout:
        """Do as `host_layout`, after taking down what killed commands have left behind."""
        from minirun.engine.shim import leftovers

        found = self.host_layout()
        if leftovers.any_left(found):
            from minirun.engine.shim import cleanup

            cleanup.collect(found)
        return found

    def for_each(self, act: Callable[[str], object], names: Iterable[str] | None = None) -> int:
        """Do `act` for each argument, or each of `names`, as Docker does, and return the exit code.

        After an error the others still get their turn; then the exit code is 1.
        """
        code = 0
        for name in self.arguments if names is None else names:
            try:
                act(name)
            except MinirunError as error:
                if self.settings.debug:
                    raise
                sys.stdout.flush()
                report(error)
                code = 1
        return code
