"""Ending early and in good order: a signal that would end this process at once lets it clean up first."""

from __future__ import annotations

import _signal  # the C part of `signal`, which would bring `enum` along, for 5 ms
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

_ENDING = (1, 2, 3, 15)  # SIGHUP, SIGINT, SIGQUIT, SIGTERM


class Interrupted(BaseException):
    """One of the signals has come."""

    def __init__(self, number: int) -> None:
        self.number = number


class interruptible:  # noqa: N801 - reads as a statement: with interruptible():
    """Raise Interrupted in the block when a signal comes that asks this process to end; a context manager.

    When the exception has left the block, the signal has its usual effect. Ignored signals stay ignored (signal(7)).
    """

    def __enter__(self) -> None:
        self._before: dict[int, Any] = {}
        for number in _ENDING:
            before = _signal.getsignal(number)
            if before not in (_signal.SIG_IGN, None):
                self._before[number] = before
                _signal.signal(number, self._raise)

    @staticmethod
    def _raise(number: int, _: object) -> None:
        raise Interrupted(number)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            _signal.signal(number, before)
        if isinstance(error, Interrupted):
            os.kill(os.getpid(), error.number)
