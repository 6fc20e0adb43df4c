"""What to send with a request so that a registry answers it: a password, or a token that another server gives for it.

A registry that is asked without, answers 401 and says in WWW-Authenticate what it wants: `Basic`, or `Bearer` with the
URL of the server ("realm") that gives tokens for a `scope` such as "repository:library/busybox:pull".

Source: https://distribution.github.io/distribution/spec/auth/token/, and .../auth/oauth/ for identity tokens.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from urllib.parse import urlencode, urlsplit

from minirun.registry.answers import resolved
from minirun.registry.auth.challenge import parse_challenges
from minirun.registry.failures import RegistryError, of_response, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minirun.registry.auth.challenge import Challenge
    from minirun.registry.auth.credentials import Credential
    from minirun.registry.http.transport import Transport

CLIENT = "minirun"
_ANSWER_MAX = 1 << 20
_LIFETIME = 60.0
"""Seconds that a token holds if its server does not say."""
_EARLY = 10.0
"""Seconds before its end when a token is no longer used."""


class Authorizer:
    """Gives the header Authorization for requests to one registry, and remembers its tokens; safe for threads."""

    def __init__(self, transport: Transport, base: str, credential: Credential | None) -> None:
        self._transport = transport
        self._base = base
        self._credential = credential
        self._challenge: Challenge | None = None
        self._tokens: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()
        self.identity_token = ""
        """What the token server gave to be kept in place of the password, if it was asked."""

    @property
    def has_credential(self) -> bool:
        """Say whether there is a user or a token at all."""
        return self._credential is not None

    def learn(self, header: str) -> bool:
        """Note what a 401 asks for; say whether this can be satisfied: Basic without a password cannot."""
        by_scheme = {challenge.scheme: challenge for challenge in reversed(parse_challenges(header))}
        bearer = by_scheme.get("bearer")
        if bearer and bearer.parameters.get("realm"):
            self._challenge = bearer
            return True
        if "basic" in by_scheme and self._credential and not self._credential.identity_token:
            self._challenge = by_scheme["basic"]
            return True
        return False

    def forget(self, scope: str) -> None:
        """Drop a token that the registry does not accept any more."""
        with self._lock:
            self._tokens.pop(scope, None)

    def headers(self, scope: str, *, offline: bool = False) -> dict[str, str]:
        """Return the header for a request that needs `scope`; nothing as long as the registry has not asked.

        `offline` also asks for an identity token. Raises RegistryError.
        """
        if self._challenge is None:
            return {}
        if self._challenge.scheme == "basic":
            return {"Authorization": _basic(self._credential)} if self._credential else {}
        with self._lock:  # of several threads one asks
            token, until = self._tokens.get(scope, ("", 0.0))
            if not token or time.monotonic() > until:
                token, until = self._tokens[scope] = self._fetch(self._challenge.parameters, scope, offline)
        return {"Authorization": f"Bearer {token}"}

    def _fetch(self, parameters: dict[str, str], scope: str, offline: bool) -> tuple[str, float]:
        realm = resolved(self._base, parameters["realm"])
        self._check_realm(realm)
        service = parameters.get("service", "")
        credential = self._credential
        if credential and credential.identity_token:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": credential.identity_token,
                "service": service,
                "client_id": CLIENT,
                **({"scope": scope} if scope else {}),
            }
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            return self._ask("POST", realm, kind, urlencode(form).encode())
        query = {
            **({"service": service} if service else {}),
            **({"scope": scope} if scope else {}),
            **({"account": credential.user} if credential else {}),
            **({"offline_token": "true", "client_id": CLIENT} if offline else {}),
        }
        url = f"{realm}{'&' if urlsplit(realm).query else '?'}{urlencode(query)}" if query else realm
        return self._ask("GET", url, {"Authorization": _basic(credential)} if credential else {}, None)

    def _check_realm(self, realm: str) -> None:
        """Refuse to send anything to a token server without TLS, unless the registry itself goes without."""
        parts = urlsplit(realm)
        if parts.scheme == "https" and parts.hostname:
            return
        plain = parts.scheme == "http" and parts.hostname
        if not plain or not (self._base.startswith("http://") or self._transport.is_trusted_plain(parts.netloc)):
            raise RegistryError(
                f"the registry {shown(self._base)} sends to {shown(realm)} for a token, which is not https",
                "Credentials are not sent there.",
            )

    def _ask(self, method: str, url: str, headers: dict[str, str], body: bytes | None) -> tuple[str, float]:
        response = self._transport.send(method, url, headers, body)
        if response.status != 200:
            raise of_response(method, url, response)
        try:
            data = response.read(_ANSWER_MAX, decode_content=False)
        except Exception:  # noqa: BLE001 - the library's errors may quote what is secret
            raise RegistryError(f"{method} {shown(url)}: the answer was cut off") from None
        finally:
            self._transport.finish(response)
        try:
            document = json.loads(data)
            token = document.get("token") or document.get("access_token")
            lifetime = float(document.get("expires_in") or _LIFETIME)
        except (ValueError, OverflowError, RecursionError, TypeError, AttributeError):
            document, token, lifetime = {}, None, _LIFETIME
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise RegistryError(f"{method} {shown(url)}: there is no token in the answer")
        self._note_identity(document)
        return token, time.monotonic() + max(lifetime - _EARLY, _EARLY)

    def _note_identity(self, document: dict[str, Any]) -> None:
        refresh = document.get("refresh_token")
        if isinstance(refresh, str):
            self.identity_token = refresh


def _basic(credential: Credential) -> str:
    pair = f"{credential.user}:{credential.password}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"
