"""Credential helpers: programs `docker-credential-NAME` that keep passwords elsewhere, in a keyring for example.

Secrets go to them on standard input, and come back on standard output: they are never arguments, nor in a trace.

Source: https://github.com/docker/docker-credential-helpers
"""

from __future__ import annotations

import json
import os

from minirun.errors import MinirunError
from minirun.kernel.process import run_program

_TIMEOUT = 60.0
"""Seconds: a keyring may ask somebody for its password."""
_NOT_FOUND = "credentials not found"


def get(name: str, server: str) -> tuple[str, str] | None:
    """Return the user and the secret that a helper keeps for a server, or None. Raises MinirunError."""
    code, output = _call(name, "get", server)
    if code != 0:
        if _NOT_FOUND in output:
            return None
        raise _failed(name, "get", output)
    try:
        document = json.loads(output)
        user, secret = document["Username"], document["Secret"]
    except (ValueError, RecursionError):
        raise MinirunError(f"the credential helper docker-credential-{name} gives an answer that is not JSON") from None
    except (TypeError, LookupError):
        user = secret = None
    if not isinstance(user, str) or not isinstance(secret, str):
        raise MinirunError(
            f"the credential helper docker-credential-{name} gives an answer that is not a user and a secret"
        )
    return user, secret


def store(name: str, server: str, user: str, secret: str) -> None:
    """Have a helper keep credentials. Raises MinirunError."""
    text = json.dumps({"ServerURL": server, "Username": user, "Secret": secret})
    code, output = _call(name, "store", text)
    if code != 0:
        for shown in (json.dumps(secret)[1:-1], secret):  # what it was given may come back in either form
            output = output.replace(shown, "...")
        raise _failed(name, "store", output)


def erase(name: str, server: str) -> None:
    """Have a helper forget credentials. Raises MinirunError."""
    code, output = _call(name, "erase", server)
    if code != 0 and _NOT_FOUND not in output:
        raise _failed(name, "erase", output)


def _call(name: str, verb: str, text: str) -> tuple[int, str]:
    program = _find(f"docker-credential-{name}")
    environment = [f"{key}={value}" for key, value in os.environ.items()]
    try:
        code, output = run_program(program, [program, verb], environment, text.encode(), _TIMEOUT, stderr="/dev/null")
    except OSError as error:
        raise MinirunError(f"the credential helper {program} cannot be executed: {error.strerror}") from None
    if code is None:
        raise MinirunError(f"the credential helper {program} does not answer within {_TIMEOUT:.0f} seconds")
    return code, output


def _find(program: str) -> str:
    if "/" not in program:
        for directory in os.environ.get("PATH", os.defpath).split(":"):
            path = f"{directory}/{program}"
            if os.path.isabs(path) and os.path.isfile(path) and os.access(path, os.X_OK):
                return path
    raise MinirunError(
        f"the credential helper {program} is not installed",
        "config.json names it in credsStore or credHelpers; install it, or take the name out.",
    )


def _failed(name: str, verb: str, output: str) -> MinirunError:
    said = output.strip().splitlines()
    reason = f": {said[0][:200]}" if said and verb != "get" else ""
    return MinirunError(f"the credential helper docker-credential-{name} fails to {verb} credentials{reason}")
