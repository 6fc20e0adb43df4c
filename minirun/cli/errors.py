"""How a command ends: errors become one sentence, a hint and Docker's exit code."""

from __future__ import annotations

from minirun.cli import streams
from minirun.cli.full_disk import hint_on
from minirun.cli.grammar import FlagError
from minirun.errors import MinirunError, tell

SIGPIPE = 13  # the module `signal` would bring `enum` along, for 5 ms


def report(error: MinirunError) -> None:
    """Print an error in the form of all commands: one sentence, then what to do about it."""
    tell(f"minirun: {error.message.rstrip('.')}.", *([f"hint: {error.hint}"] if error.hint else []))


def tell_traceback(error: BaseException) -> None:
    """Print where an error was raised, for --debug."""
    import traceback

    tell(*"".join(traceback.format_exception(error)).splitlines())


def code_of(error: BaseException, failure_code: int, *, debug: bool, places: tuple[str, ...] = ()) -> int:
    """Report the error that ended a command, with a traceback if `debug`, and return the exit code.

    `failure_code` is that of minirun's own failures in this command; `places` is where it writes.
    """
    output_fails = streams.output_fails()  # what was printed before must appear first
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, BrokenPipeError) and streams.output_is_unread():
        streams.give_up_output()
        return 128 + SIGPIPE
    if debug:
        tell_traceback(error)
    if isinstance(error, MinirunError):
        report(MinirunError(error.message, error.hint or hint_on(error, places)))
        own = error.exit_code == 125 and not isinstance(error, FlagError)
        return failure_code if own else error.exit_code
    if isinstance(error, OSError):
        where = "standard output" if output_fails else error.filename
        streams.give_up_output()
        hint = "" if where == "standard output" else hint_on(error, places)
        report(MinirunError(f"{where}: {error.strerror}" if where else f"{error.strerror}", hint))
        return failure_code
    # The last resort: only developers want a traceback.
    text = f"internal error: {type(error).__name__}: {error}"
    report(MinirunError(text, "Run again with --debug for the details."))
    return failure_code
