"""`login`: credentials are checked at the registry before they are kept."""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.model.image import DEFAULT_REGISTRY, ImageRef
from minirun.registry import registries_conf
from minirun.registry.auth import credentials
from minirun.registry.auth.credentials import Credential
from minirun.registry.client import Client
from minirun.registry.failures import RegistryError
from minirun.registry.http.transport import Transport


def registry_of(server: str) -> str:
    """Return the registry that SERVER means: old ones are URLs, and nothing is docker.io. Raises MinirunError."""
    host = server.partition("://")[2] or server
    host = host.partition("/")[0]
    if not host:
        if server:
            raise MinirunError(f"'{server}' is not a server", "A server is HOST[:PORT].")
        return DEFAULT_REGISTRY
    if host in ("index.docker.io", "registry-1.docker.io"):
        return DEFAULT_REGISTRY
    if "." in host or ":" in host or host == "localhost":
        ImageRef.parse(f"{host}/name")  # for the error, if it cannot be one
    return host


def log_in(registry: str, credential: Credential) -> str:
    """Check credentials, and keep them; return the file that they are in, or "" for a credential helper.

    An identity token, where the registry gives one, is kept in place of the password. Raises MinirunError.
    """
    client = Client(Transport(registries_conf.read().is_insecure), registry, "", credential=credential)
    try:
        token = client.log_in()
    except RegistryError as error:
        if error.status not in (401, 403):
            raise
        raise MinirunError(
            f"login attempt to {client.base()}/v2/ failed: {error.detail}", "Are user and password right?"
        ) from None
    finally:
        client.close()
    kept = Credential(credential.user, identity_token=token) if token else credential
    return credentials.save(registry, kept)
