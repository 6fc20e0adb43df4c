"""The one exception that reaches the user, and how text reaches a terminal. This module imports nothing of minirun."""

import sys


class MinirunError(Exception):
    """A failure that a person can act on.

    `message` says what was being done, on what, and why it failed, in one sentence without a final full stop. `hint`
    says what to do about it; it may be empty. `exit_code` follows Docker: 125 when minirun itself failed, 126 when
    the command cannot be executed, 127 when it does not exist, 1 for commands that only manage containers.
    """

    def __init__(self, message: str, hint: str = "", exit_code: int = 125) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code

    def __str__(self) -> str:
        return self.message


class DamagedError(MinirunError):
    """A file of minirun's own that cannot be what minirun wrote: by a crash of the machine, a full disk, an editor.

    `path` is the file; whoever raises it for a container or an image gives the hint how to go on without the file.
    """

    def __init__(self, path: str, reason: str, hint: str = "") -> None:
        super().__init__(f"{path} is damaged: {reason}", hint)
        self.path = path
        self.reason = reason


class MissingImageError(MinirunError):
    """A container's image is not in the store, or not for the platform that was asked for: a pull may bring it."""


def printable(text: str) -> str:
    """Return text with its control characters as escapes: what an image, a file or a caller calls itself must not steer
    the user's terminal.

    Escaped are new lines too, what turns the direction of writing, and bytes that were no UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def tell(*lines: str) -> None:
    """Print lines on standard error, made printable; as far as it can be written, for no outcome may hang on that."""
    try:
        print(*map(printable, lines), sep="\n", file=sys.stderr, flush=True)
    except OSError:
        pass  # nobody reads it, it was opened for reading only, or its disk is full


def warn(sentence: str) -> None:
    """Tell the user of something that was done otherwise than asked."""
    tell(f"minirun: warning: {sentence}")


_warned: set[str] = set()


def warn_once(sentence: str) -> None:
    """Warn of something that a command may come across several times."""
    if sentence not in _warned:
        _warned.add(sentence)
        warn(sentence)
