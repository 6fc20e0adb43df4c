"""`login` and `logout`: credentials for registries."""

from __future__ import annotations

import os
import sys

from minirun.cli.grammar import FlagError, Verb, switch, text
from minirun.cli.streams import say
from minirun.errors import MinirunError, warn
from minirun.registry.auth import credentials
from minirun.registry.auth.credentials import DOCKER_HUB_KEY, Credential

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call


def login(call: Call) -> None:
    """Check credentials at a registry, docker.io by default, and keep them for pull and push.

    They are kept where Docker keeps them, in ~/.docker/config.json, or by the credential helper that is named there.
    """
    from minirun.registry.login import log_in, registry_of

    registry = registry_of("".join(call.arguments))
    user, password = call.text("username"), call.values.get("password")
    if password is not None and call.switch("password-stdin"):
        raise FlagError("--password and --password-stdin are mutually exclusive")
    if password is not None:
        warn("Using --password via the CLI is insecure. Use --password-stdin.")
    if call.switch("password-stdin"):
        if not user:
            raise MinirunError("Must provide --username with --password-stdin")
        password = _decoded(sys.stdin.buffer.read()).rstrip("\r\n")
    if not user and password is None:
        known = credentials.find(registry)
        if known:
            say("Authenticating with existing credentials...")
            log_in(registry, known)
            say("Login Succeeded")
            return
    where = log_in(registry, _asked(user, password))
    if where:
        warn(f"Your password is stored unencrypted in {where}; a credential helper would keep it better")
    if os.geteuid() != 0:
        warn("'sudo minirun pull' reads root's credentials: for that, use 'sudo minirun login'")
    say("Login Succeeded")


def _decoded(password: bytes) -> str:
    try:
        return password.decode()
    except UnicodeDecodeError:
        raise MinirunError("the password on standard input is not UTF-8") from None


def _asked(user: str, password: str | None) -> Credential:
    """Return the credentials, asking at the terminal for what was not given. Raises MinirunError."""
    from minirun.kernel.session.interrupt import interruptible
    from minirun.kernel.session.terminal import without_echo

    if (not user or password is None) and not sys.stdin.isatty():
        raise MinirunError(
            "Cannot perform an interactive login from a non TTY device", "Give -u USER --password-stdin."
        )
    if not user:
        user = _answer("Username: ")
    if password is None:
        with interruptible(), without_echo(0):
            password = _answer("Password: ")
        say("")
    if not user or not password:
        raise MinirunError("username and password are required" if user else "Username is required")
    return Credential(user, password)


def _answer(question: str) -> str:
    print(question, end="", flush=True)
    line = sys.stdin.readline()
    if not line:
        raise KeyboardInterrupt
    return line.rstrip("\r\n")


def logout(call: Call) -> None:
    """Forget the credentials for a registry, docker.io by default."""
    from minirun.registry.login import registry_of

    server = "".join(call.arguments)
    shown = registry_of(server) if server else DOCKER_HUB_KEY
    if credentials.forget(registry_of(server)):
        say(f"Removing login credentials for {shown}")
    else:
        say(f"Not logged in to {shown}")


VERBS = {
    "login": Verb(
        login,
        (
            text("-u/--username", "User name."),
            text("-p/--password", "Password; better by --password-stdin, for others see the command line."),
            switch("--password-stdin", "Read the password from standard input."),
        ),
        "[SERVER]",
        summary="Give credentials for a registry",
        examples=(
            ("cat password | minirun login -u me --password-stdin registry.example", "the password is in no list"),
        ),
    ),
    "logout": Verb(logout, (), "[SERVER]", summary="Forget the credentials for a registry"),
}
