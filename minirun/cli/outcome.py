"""How a command ends: errors become one sentence, a hint and Docker's exit code."""

from __future__ import annotations

import os
import sys

from minirun.errors import MinirunError, printable


class FlagError(MinirunError):
    """A flag or its value is wrong: 125 in every command, where other failures of most commands give 1."""


def report(error: MinirunError) -> None:
    """Print an error as every command does: one sentence, then what to do about it."""
    lines = [f"minirun: {printable(error.message.rstrip('.'))}."]
    lines += [f"hint: {printable(error.hint)}"] if error.hint else []
    print(*lines, sep="\n", file=sys.stderr, flush=True)


def code_of(error: BaseException, failure_code: int, *, debug: bool) -> int:
    """Tell an error that ended a command, with a traceback for `debug`, and return the exit code.

    `failure_code` is that of minirun's own failures in this command.
    """
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, BrokenPipeError):
        _give_up_output()
        return 141
    if debug:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, MinirunError):
        report(error)
        own = error.exit_code == 125 and not isinstance(error, FlagError)
        return failure_code if own else error.exit_code
    if isinstance(error, OSError):
        _give_up_output()
        report(MinirunError(f"{error.filename}: {error.strerror}" if error.filename else f"{error.strerror}"))
        return failure_code
    # The last net: nobody but a developer wants a traceback.
    text = f"internal error: {type(error).__name__}: {error}"
    report(MinirunError(text, "Run again with --debug for the details."))
    return failure_code


def _give_up_output() -> None:
    """Drop what nobody reads any more, as `head` does, or no disk has room for: Python would try again at its exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
