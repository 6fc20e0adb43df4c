"""What all verbs of `minirun-oci` are made of: a call as it was typed, and what a verb is."""

from __future__ import annotations

import os

from minirun.cli.flags import Flag
from minirun.errors import MinirunError
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minirun.cli.flags import Parsed

BUNDLE = Flag(("bundle", "b"), "Directory of the bundle (default: the current one).")
EXEC_FAILED = 255  # what `exec` exits with when there is no process whose exit code it could be


class Call(Record):
    """One call: the global flags' meaning and the verb's own."""

    root: str
    systemd_cgroup: bool
    use_cgroups: bool
    parsed: Parsed

    def container_id(self) -> str:
        """Return the first argument. Raises MinirunError if there is none or it is not fit to be one."""
        if not self.parsed.arguments or not self.parsed.arguments[0]:
            raise MinirunError("container id cannot be empty")
        container_id = self.parsed.arguments[0]
        allowed = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")
        if not allowed.issuperset(container_id) or container_id in (".", ".."):
            wrong = next((letter for letter in container_id if letter not in allowed), container_id)
            problem = f"invalid container ID format: '{container_id}': invalid character `{wrong}` in the ID"
            raise MinirunError(problem, "Use letters, digits and _ + - .")
        return container_id

    def bundle(self) -> str:
        """Return the directory of the bundle."""
        return os.path.abspath(self.parsed.text("bundle") or ".")


class Verb(Record):
    """A verb: what carries it out, its flags, its arguments as help shows them, and whether flags may follow these.

    The function's docstring is its help; it returns the exit code, None for 0.
    """

    function: Callable[[Call], int | None]
    flags: tuple[Flag, ...] = ()
    arguments: str = "ID"
    interspersed: bool = True


def notify_socket() -> str:
    """Return the path of the socket on which the caller, often systemd, waits for readiness (sd_notify(3))."""
    return os.environ.get("NOTIFY_SOCKET", "")
