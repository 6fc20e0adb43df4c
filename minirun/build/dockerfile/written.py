"""An instruction as far as all of them are alike: its word, its flags, and its arguments as written."""

from __future__ import annotations

from minirun.build.dockerfile.error import DockerfileError
from minirun.build.dockerfile.forms import json_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minirun.build.dockerfile.flags import Flags
    from minirun.build.dockerfile.instructions import Heredoc


class Written:
    """An instruction that has been taken apart; `place` has the fields that every Instruction has."""

    def __init__(
        self,
        word: str,
        flags: Flags,
        arguments: str,
        escape: str,
        heredocs: tuple[Heredoc, ...],
        place: dict[str, Any],
    ) -> None:
        self.word = word
        self.flags = flags
        self.arguments = arguments
        self.escape = escape
        self.heredocs = heredocs
        self.place = place

    def one(self) -> str:
        """Return the arguments, blanks and all, as the single one. Raises DockerfileError."""
        if not self.arguments:
            raise DockerfileError(f"{self.word} requires exactly one argument")
        return self.arguments

    def words(self) -> tuple[str, ...]:
        """Return the arguments, split at blanks: quotes do not join them. Raises DockerfileError."""
        if not self.arguments:
            raise DockerfileError(f"{self.word} requires at least one argument")
        return tuple(self.arguments.split())

    def list_form(self) -> tuple[str, ...]:
        """Return the members of a JSON array, or else words. Raises DockerfileError."""
        found = json_words(self.arguments)
        return self.words() if found is None else found

    def command_form(self) -> dict[str, Any]:
        """Return `argv` of the JSON form or `command` of the shell form. Raises DockerfileError."""
        argv = json_words(self.arguments)
        return {"command": self.arguments} if argv is None else {"argv": argv}
