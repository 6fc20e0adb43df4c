"""Credentials where Docker and Podman keep them.

    $REGISTRY_AUTH_FILE                                    alone, where it is set
    $DOCKER_CONFIG/config.json, ~/.docker/config.json      Docker's; `login` writes here
    $XDG_RUNTIME_DIR/containers/auth.json, ~/.config/containers/auth.json    Podman's, read only

    {"auths": {"HOST[:PORT][/PATH]": {"auth": base64("USER:PASSWORD"), "identitytoken": ...}},
     "credHelpers": {"HOST": NAME}, "credsStore": NAME}

Source: docker/cli cli/config/configfile, and containers-auth.json(5).
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import pwd
from contextlib import contextmanager

from minirun.errors import DamagedError, MinirunError
from minirun.kernel.hostfiles import lock_existing, make_private, read_small, replace
from minirun.model.image import DEFAULT_REGISTRY
from minirun.model.record import Record
from minirun.registry.auth import helpers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

# Under which name Docker keeps the credentials of its own registry, for reasons of the year 2013.
DOCKER_HUB_KEY = "https://index.docker.io/v1/"
_DOCKER_HUB = frozenset({DEFAULT_REGISTRY, "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})
# A helper gives this as the user where the secret is an identity token.
_TOKEN_USER = "<token>"


class Credential(Record):
    """A user and a password, or an identity token (OAuth's refresh token) in place of the password."""

    user: str = ""
    password: str = ""
    identity_token: str = ""

    def __repr__(self) -> str:
        return f"Credential(user={self.user!r})"  # tracebacks and assertions print it


def find(registry: str, repository: str = "") -> Credential | None:
    """Return the credentials for a registry, "docker.io" or "HOST[:PORT]", or None.

    Those of auth.json may be for a part of a registry: the longest path that fits wins. Raises MinirunError.
    """
    for path in _paths():
        found = _find_in(_read(path), registry, repository)
        if found:
            return found
    return None


def save(registry: str, credential: Credential) -> str:
    """Keep credentials for a registry; return where: a path, or "" for a helper. Raises MinirunError, OSError."""
    path = _own_path()
    key = _key(registry)
    with _locked(path):
        document = _read(path)
        helper = _helper(document, registry)
        if helper:
            secret = credential.identity_token or credential.password
            helpers.store(helper, key, _TOKEN_USER if credential.identity_token else credential.user, secret)
            entry: dict[str, Any] = {}
        else:
            text = f"{credential.user}:{'' if credential.identity_token else credential.password}"
            entry = {"auth": base64.b64encode(text.encode()).decode()}
            if credential.identity_token:
                entry["identitytoken"] = credential.identity_token
        document["auths"] = {name: it for name, it in _auths(document).items() if not _means(name, registry)}
        document["auths"][key] = entry
        _write(path, document)
    return "" if helper else path


def forget(registry: str) -> bool:
    """Forget the credentials for a registry; say whether there were any. Raises MinirunError, OSError."""
    path = _own_path()
    if not os.path.exists(path):
        return False
    with _locked(path):
        document = _read(path)
        helper = _helper(document, registry)
        if helper:
            helpers.erase(helper, _key(registry))
        kept = {name: entry for name, entry in _auths(document).items() if not _means(name, registry)}
        found = len(kept) < len(_auths(document))
        if found:
            document["auths"] = kept
            _write(path, document)
    return found or bool(helper)


# -- where -------------------------------------------------------------------------------------------------------------
def _own_path() -> str:
    """Return the file that `login` writes."""
    return _paths()[0]


def _paths() -> list[str]:
    alone = os.environ.get("REGISTRY_AUTH_FILE")
    if alone:
        return [alone]
    home = os.environ.get("HOME") or pwd.getpwuid(os.geteuid()).pw_dir
    docker = os.environ.get("DOCKER_CONFIG") or f"{home}/.docker"
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/containers/{os.geteuid()}"
    config = os.environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    return [f"{docker}/config.json", f"{runtime}/containers/auth.json", f"{config}/containers/auth.json"]


def _key(registry: str) -> str:
    return DOCKER_HUB_KEY if registry in _DOCKER_HUB else registry


def _means(name: str, registry: str) -> bool:
    """Say whether an entry's name is that of a registry: old ones are URLs, of which the host counts."""
    scheme, found, rest = name.partition("://")
    host = rest.partition("/")[0] if found else scheme
    return host == registry or (registry in _DOCKER_HUB and host in _DOCKER_HUB)


# -- reading -----------------------------------------------------------------------------------------------------------
def _read(path: str) -> dict[str, Any]:
    try:
        data = read_small(os.path.realpath(path))
        document = json.loads(data) if data.strip() else {}
    except FileNotFoundError:
        return {}
    except DamagedError as error:
        raise MinirunError(f"the credentials in {path} cannot be read: {error.reason}") from None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise MinirunError(
            f"the credentials in {path} cannot be read: it is not JSON", "Put it right or move it away."
        ) from None
    return document


def _auths(document: dict[str, Any]) -> dict[str, Any]:
    auths = document.get("auths")
    return auths if isinstance(auths, dict) else {}


def _find_in(document: dict[str, Any], registry: str, repository: str) -> Credential | None:
    helper = _helper(document, registry)
    if helper:
        found = helpers.get(helper, _key(registry))
        if found:
            user, secret = found
            return Credential(identity_token=secret) if user == _TOKEN_USER else Credential(user, secret)
    auths = _auths(document)
    path = f"{registry}/{repository}"
    while "/" in path:  # from the longest to the host alone, which old entries write as a URL
        if (entry := auths.get(path)) and (read := _credential(entry)):
            return read
        path = path.rpartition("/")[0]
    own = [entry for name, entry in auths.items() if name == _key(registry)]
    others = [entry for name, entry in auths.items() if _means(name, registry)]
    return next((read for entry in (*own, *others) if (read := _credential(entry))), None)


def _helper(document: dict[str, Any], registry: str) -> str:
    single = document.get("credHelpers")
    if isinstance(single, dict):
        for name, helper in single.items():
            if _means(str(name), registry) and isinstance(helper, str) and helper:
                return helper
    common = document.get("credsStore")
    return common if isinstance(common, str) else ""


def _credential(entry: object) -> Credential | None:
    if not isinstance(entry, dict):
        return None
    user, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    token = entry.get("identitytoken")
    try:
        text = base64.b64decode(str(entry.get("auth") or ""), validate=True).decode()
    except (binascii.Error, ValueError):
        text = ""
    if ":" in text:
        user, _, password = text.partition(":")
    if not (user or token):
        return None
    return Credential(user, password.rstrip("\0"), str(token) if isinstance(token, str) else "")


# -- writing -----------------------------------------------------------------------------------------------------------
@contextmanager
def _locked(path: str) -> Iterator[None]:
    """Keep another `login` from writing at the same time: it would lose what this one writes."""
    directory = os.path.dirname(os.path.realpath(path))
    make_private(directory)
    lock = lock_existing(directory)
    try:
        yield
    finally:
        os.close(lock)


def _write(path: str, document: dict[str, Any]) -> None:
    """Replace the file whole, for its owner alone; a link stays one, and what others keep in it is kept."""
    replace(os.path.realpath(path), json.dumps(document, indent="\t") + "\n", 0o600, durable=True)
