"""What is wrong with a Dockerfile, and where."""

from __future__ import annotations

from minirun.errors import MinirunError


class DockerfileError(MinirunError):
    """A Dockerfile that says something wrong.

    `reason` is in BuildKit's words, as far as it has any; `line` is the first line of the instruction, or 0 where no
    line is to blame. The exit code is 1, as everything's that a build ends by.
    """

    def __init__(self, reason: str, hint: str = "", line: int = 0) -> None:
        super().__init__(f"dockerfile parse error on line {line}: {reason}" if line else reason, hint, exit_code=1)
        self.reason = reason
        self.line = line

    def at(self, line: int) -> DockerfileError:
        """Return this error with the line that it is about, if that has not been said yet."""
        return self if self.line else DockerfileError(self.reason, self.hint, line)
