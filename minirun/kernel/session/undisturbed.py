"""Work that Ctrl-C must not cut off: undoing what was begun."""

from __future__ import annotations

import _signal as signal  # the C part of `signal`, which would bring `enum` along, for 5 ms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

_ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


class undisturbed:  # noqa: N801 - reads as a statement: with undisturbed():
    """Hold back the signals that end a program; what came meanwhile takes effect afterwards (sigprocmask(2))."""

    def __enter__(self) -> None:
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
