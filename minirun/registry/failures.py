"""How requests to registries fail, in words that never hold a secret.

Signed URLs carry their signature in the query, proxies their password before the host: neither is shown. Errors of the
HTTP library may quote both, so they are never chained (`from None`).
"""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from minirun.errors import MinirunError, printable
from minirun.model.image import DEFAULT_REGISTRY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

    from minirun.model.image import ImageRef

_BODY_MAX = 1 << 16
_TEXT_MAX = 300


class RegistryError(MinirunError):
    """A registry cannot be reached, or refuses.

    `status` is the answer's, 0 where there was none; `code` is the first error code in it, such as "MANIFEST_UNKNOWN";
    `detail` is what the registry says, as Docker prints it: "manifest unknown: ...".
    """

    def __init__(self, message: str, hint: str = "", status: int = 0, code: str = "", detail: str = "") -> None:
        super().__init__(message, hint)
        self.status = status
        self.code = code
        self.detail = detail or message


class MissingError(MinirunError):
    """There is no such image at a registry, or one must not know."""


def shown(url: str) -> str:
    """Return a URL without what may be secret in it: a password, and the query."""
    try:
        parts = urlsplit(url)
        return printable(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")[:_TEXT_MAX]
    except ValueError:
        return "an invalid URL"


def of_response(method: str, url: str, response: BaseHTTPResponse) -> RegistryError:
    """Return the error that an answer stands for, and end the connection.

    Source: distribution-spec, "Error Codes": {"errors": [{"code": ..., "message": ..., "detail": ...}]}.
    """
    status = response.status
    code, detail = _said(response)
    reason = detail or f"{status} {response.reason or ''}".strip()
    hint = ""
    if status == 429:
        hint = "The registry limits how often it is asked: wait, or log in with 'minirun login'."
    elif status >= 500:
        hint = "The registry itself has a problem: try again later."
    return RegistryError(f"{method} {shown(url)}: {reason}", hint, status, code, reason)


def _said(response: BaseHTTPResponse) -> tuple[str, str]:
    """Return the first error code of an answer, and what it says in words."""
    try:
        data = response.read(_BODY_MAX, decode_content=False)
    except Exception:  # noqa: BLE001 - the status says enough
        data = b""
    finally:
        response.close()
    try:
        document = json.loads(data)
        first = document["errors"][0]
        code, message = str(first.get("code") or ""), str(first.get("message") or "")
    except (ValueError, RecursionError, TypeError, LookupError, AttributeError):
        return "", ""
    name = code.lower().replace("_", " ")
    parts = [name] if not message or message == name else [name, message]
    return code.upper(), printable(": ".join(filter(None, parts)))[:_TEXT_MAX]


def explained(error: RegistryError, reference: ImageRef) -> MinirunError:
    """Return the error of a pull in Docker's words (distribution/errors.go)."""
    if error.code in ("DENIED", "UNAUTHORIZED") or error.status in (401, 403):
        return MissingError(
            f"pull access denied for {reference.familiar_name}, repository does not exist or may require "
            f"'minirun login': {error.detail}",
            f"Is the name right? 'minirun login{_server(reference)}' gives minirun your credentials.",
        )
    if error.code == "NAME_UNKNOWN":
        return MissingError(f"repository {reference.familiar_name} not found: {error.detail}", "Is the name right?")
    if error.status == 404:
        detail = "manifest unknown" if error.code == "MANIFEST_UNKNOWN" else error.detail
        return MissingError(f"manifest for {reference.familiar} not found: {detail}", "Is the tag right?")
    return error


def explained_push(error: RegistryError, reference: ImageRef) -> MinirunError:
    """Return the error of a push in Docker's words: what the registry says."""
    if error.code in ("DENIED", "UNAUTHORIZED") or error.status in (401, 403):
        hint = f"'minirun login{_server(reference)}' gives minirun your credentials; the repository must be yours."
        return MinirunError(error.detail, hint, exit_code=1)
    return MinirunError(error.message, error.hint, exit_code=1)


def _server(reference: ImageRef) -> str:
    return "" if reference.registry == DEFAULT_REGISTRY else f" {reference.registry}"
