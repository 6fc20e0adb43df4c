"""Whose files a build makes: `--chown` and USER looked up in the stage's own files, and `--chmod`."""

from __future__ import annotations

from minirun.build.copy.destination import Ownership
from minirun.build.dockerfile.error import DockerfileError
from minirun.engine.spec import users
from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minirun.build.copy.tree import Tree

_WHO = {"u": 0o4700, "g": 0o2070, "o": 0o1007, "a": 0o7777}
_BITS = {"r": 0o444, "w": 0o222, "x": 0o111, "s": 0o6000, "t": 0o1000}


def of_copy(chown: str, chmod: str, rootfs: Tree) -> Ownership:
    """Return who owns what COPY makes. Raises DockerfileError."""
    uid, gid = owner(chown, rootfs) if chown else (0, 0)
    return Ownership(uid, gid, mode_change(chmod) if chmod else None)


def owner(text: str, rootfs: Tree) -> tuple[int, int]:
    """Return the uid and gid of "USER[:GROUP]", names or numbers. Raises DockerfileError.

    Without a group it is the user's, and that of a number the same number.
    """
    user, _, group = text.partition(":")
    if user.isdecimal() and not group:
        group = user
    try:
        found = users.resolve(
            f"{user}:{group}" if group else user, (), rootfs.read("etc/passwd"), rootfs.read("etc/group")
        )
    except MinirunError as error:
        raise DockerfileError(error.message, error.hint) from None
    return found.uid, found.gid


def mode_change(text: str) -> Callable[[int, bool], int]:
    """Return what `--chmod` does to a mode, given whether it is a directory's: "0755", or "u=rwX,go=rX" (chmod(1)).

    Raises DockerfileError.
    """
    if text and not text.strip("01234567") and len(text) <= 5 and int(text, 8) <= 0o7777:
        return lambda _mode, _is_directory: int(text, 8)
    clauses = [_clause(part, text) for part in text.split(",")]

    def change(mode: int, is_directory: bool) -> int:
        for who, operator, letters in clauses:
            bits = 0
            for letter in letters:
                if letter == "X":
                    bits |= 0o111 if is_directory or mode & 0o111 else 0
                elif letter in "ugo":
                    copied = mode >> {"u": 6, "g": 3, "o": 0}[letter] & 7
                    bits |= copied * 0o111
                else:
                    bits |= _BITS[letter]
            bits &= who
            mode = mode | bits if operator == "+" else mode & ~bits if operator == "-" else mode & ~(who & 0o777) | bits
        return mode

    return change


def _clause(part: str, whole: str) -> tuple[int, str, str]:
    head = part.rstrip("rwxXstugo") if any(operator in part for operator in "+-=") else ""
    operator, letters = head[-1:], part[len(head) :]
    if operator not in ("+", "-", "=") or not operator or head[:-1].strip("ugoa"):
        raise DockerfileError(
            f"invalid chmod parameter: '{whole}'", "It is an octal number such as 0755, or like chmod(1)'s u=rwX,go=rX."
        )
    who = 0
    for letter in head[:-1] or "a":
        who |= _WHO[letter]
    return who, operator, letters
