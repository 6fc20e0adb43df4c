"""The standard streams as a command inherits them: some callers close one, others give one that cannot be written."""

from __future__ import annotations

import io
import sys

from minirun.kernel.session import standard_streams


def complete() -> None:
    """Open /dev/null for every standard stream that is closed. To be called before anything else is opened."""
    standard_streams.complete()
    # Python has no object for a stream that was closed when it started.
    sys.stdout = sys.stdout or standard_streams.as_text(1)
    sys.stderr = sys.stderr or standard_streams.as_text(2)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # what was no UTF-8 goes out as it came in


def say(text: str) -> None:
    """Print a line on standard output at once: what comes after it on standard error comes after it everywhere."""
    print(text, flush=True)


def output_is_unread() -> bool:
    """Say whether standard output is a pipe or a socket whose reader has gone, as `head` goes."""
    import select

    poll = select.poll()
    poll.register(1, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def output_fails() -> bool:
    """Say whether what was printed cannot be written: after an error it is still waiting for it."""
    try:
        sys.stdout.flush()
    except OSError:
        return True
    return False


def give_up_output() -> None:
    """Drop what is not written yet, and what will be: nobody reads it any more, or no disk has room for it."""
    standard_streams.discard_output()
