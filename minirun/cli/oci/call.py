"""A call of a verb of `minirun-oci`: what was typed, and what the global flags mean."""

from __future__ import annotations

import os

from minirun.cli.grammar import Parsed, text
from minirun.errors import MinirunError

BUNDLE = text("--bundle/-b", "Directory of the bundle (default: the current one).")
EXEC_FAILED = 255  # what `exec` exits with when there is no process whose exit code it could be


class Call(Parsed):
    """What a verb is called with."""

    root: str
    systemd_cgroup: bool
    use_cgroups: bool

    def container_id(self) -> str:
        """Return the first argument. Raises MinirunError if there is none or it is not fit to be one."""
        if not self.arguments or not self.arguments[0]:
            raise MinirunError("container id cannot be empty")
        container_id = self.arguments[0]
        allowed = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")
        if not allowed.issuperset(container_id) or container_id in (".", ".."):
            wrong = next((letter for letter in container_id if letter not in allowed), container_id)
            problem = f"invalid container ID format: '{container_id}': invalid character `{wrong}` in the ID"
            raise MinirunError(problem, "Use letters, digits and _ + - .")
        return container_id

    def bundle(self) -> str:
        """Return the directory of the bundle."""
        return os.path.abspath(self.text("bundle") or ".")


def notify_socket() -> str:
    """Return the path of the socket on which the caller, often systemd, waits for readiness (sd_notify(3))."""
    return os.environ.get("NOTIFY_SOCKET", "")
