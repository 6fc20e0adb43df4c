"""Who may pull: users and their passwords, as htpasswd(1) -B writes them, one `name:$2y$...` a line.

Only bcrypt is taken, which is slow on purpose; so a password that was right is remembered as a hash with a secret of
this process, for a pull is dozens of requests. Wrong ones are tried one after the other, and an unknown user takes as
long as a known one.

Source: RFC 7617 (basic authentication).
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import threading

import bcrypt

from minirun.errors import MinirunError

# The cost, 22 letters of salt and 31 of the hash (crypt(5)).
_BCRYPT = re.compile(rb"\$2[aby]\$(?:0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
# bcrypt looks at so many bytes of a password; others refuse to hash more.
_PASSWORD_MAX = 72


class Passwords:
    """The users of an htpasswd file, as it was when the server was started. Used by many threads."""

    def __init__(self, path: str) -> None:
        """Read the file. Raises OSError, and MinirunError where a line is not a user with a bcrypt hash."""
        with open(path, "rb") as file:
            lines = file.read().splitlines()
        self._hashes = dict(_entry(path, number, line) for number, line in enumerate(lines, 1) if _counts(line))
        if not self._hashes:
            raise MinirunError(f"{path} has no users", f"'htpasswd -B {path} USER' adds one.")
        self._nobody = next(iter(self._hashes.values()))
        self._secret = os.urandom(32)
        self._right: set[bytes] = set()
        self._checking = threading.Lock()

    def allow(self, authorization: str) -> bool:
        """Say whether the value of a request's header Authorization is that of a user."""
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        except ValueError:
            return False
        if not colon or b"\0" in password:
            return False
        known = hashlib.blake2b(user + b":" + password, key=self._secret).digest()
        if known in self._right:
            return True
        with self._checking:
            if known in self._right:  # another of the user's connections was first
                return True
            right = _fits(password, self._hashes.get(user, self._nobody))
            if right and user in self._hashes:
                self._right.add(known)
        return known in self._right


def _counts(line: bytes) -> bool:
    return bool(line.strip()) and not line.startswith(b"#")


def _entry(path: str, number: int, line: bytes) -> tuple[bytes, bytes]:
    user, _, hashed = line.strip().partition(b":")
    if not hashed.startswith((b"$2a$", b"$2b$", b"$2y$")):
        raise MinirunError(f"{path}, line {number}: the password is not hashed by bcrypt", "'htpasswd -B' does that.")
    if not _BCRYPT.fullmatch(hashed):
        raise MinirunError(f"{path}, line {number}: the hash is malformed", "'htpasswd -B' writes one.")
    return user, hashed


def _fits(password: bytes, hashed: bytes) -> bool:
    try:
        return bcrypt.checkpw(password[:_PASSWORD_MAX], hashed)
    except ValueError:
        return False  # the salt has bits that no program writes
