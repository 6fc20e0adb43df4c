"""Ctrl-C: before a command has begun, it ends the process; after that it is an exception, so that the command can undo
what it has made.

Python makes it an exception from the start, and a traceback as long as nobody is there to catch it: the first line of
an executable takes that back (executables.py).
"""

from __future__ import annotations

import _signal  # the module `signal` would bring `enum` along, for 5 ms
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn


def catch() -> None:
    """From here on, let SIGINT raise KeyboardInterrupt; where the caller ignores it, as nohup(1) does, it stays so."""
    if _signal.getsignal(_signal.SIGINT) == _signal.SIG_DFL:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)


def exit_after(run: Callable[[], int]) -> NoReturn:
    """Exit with what `run` returns, with 130 if it was interrupted."""
    code = 130
    try:
        code = run()
    except KeyboardInterrupt:
        pass
    except Exception as error:  # noqa: BLE001 - a broken installation: errors of commands have been told before
        from minirun.cli.errors import code_of

        code = code_of(error, 1, debug=True)
    finally:
        # No call in between, so a further Ctrl-C comes too late. Python would also take itself apart first, for 3 ms,
        # and exit with 120 where a standard stream cannot be written.
        os._exit(code)
