"""The standard streams as a command inherits them: some callers close one, others give one that cannot be written."""

from __future__ import annotations

import io
import sys

from minirun.kernel.session import standard_streams


def complete() -> None:
    """Open /dev/null for every standard stream that is closed. Call this before anything else is opened."""
    standard_streams.complete()
    # Python has no object for a stream that was closed when it started.
    sys.stdout = sys.stdout or standard_streams.as_text(1)
    sys.stderr = sys.stderr or standard_streams.as_text(2)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # bytes that were not UTF-8 are written as they were read


def say(text: str) -> None:
    """Print a line on standard output at once, so that it appears before what follows on standard error."""
    print(text, flush=True)


def output_is_unread() -> bool:
    """Say whether standard output is a pipe or a socket whose reader has gone, as `head` goes."""
    import select

    poll = select.poll()
    poll.register(1, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def output_fails() -> bool:
    """Say whether output could not be written: after an error it is still in the buffer."""
    try:
        sys.stdout.flush()
    except OSError:
        return True
    return False


def give_up_output() -> None:
    """Drop buffered and further output: nobody reads it any more, or the disk is full."""
    standard_streams.discard_output()
