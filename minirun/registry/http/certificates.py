"""Whom to trust, and who to be: certificates of single registries, beside those of the system.

    /etc/docker/certs.d/HOST[:PORT]/*.crt    authorities to trust in addition
                                    *.cert   this client's certificate, with its key in the *.key of the same name
    /etc/containers/certs.d/HOST[:PORT]/     the same, for Podman and its kin

Source: https://docs.docker.com/engine/security/certificates/ and containers-certs.d(5).
"""

from __future__ import annotations

import os
import ssl

from minirun.errors import MinirunError

DIRECTORIES = ("/etc/containers/certs.d", "/etc/docker/certs.d")


def has_authority(authority: str, directories: tuple[str, ...] = DIRECTORIES) -> bool:
    """Say whether an authority is configured for a registry, "HOST[:PORT]": then it must prove itself by TLS."""
    return any(name.endswith(".crt") for _, name in _files(authority, directories))


def context_for(authority: str, *, verify: bool, directories: tuple[str, ...] = DIRECTORIES) -> ssl.SSLContext:
    """Return how to speak TLS with a registry; without `verify`, whoever answers is believed.

    Raises MinirunError for a certificate that cannot be used.
    """
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for directory, name in _files(authority, directories):
        path = f"{directory}/{name}"
        stem, _, kind = name.rpartition(".")
        try:
            if kind == "crt":
                context.load_verify_locations(path)
            elif kind == "cert":
                # The password: none. Without this, OpenSSL would ask at the terminal for that of an encrypted key.
                context.load_cert_chain(path, f"{directory}/{stem}.key", password="")
            elif kind == "key" and not os.path.exists(f"{directory}/{stem}.cert"):
                raise MinirunError(
                    f"missing client certificate {stem}.cert for key {name}", f"Both belong into {directory}."
                )
        except FileNotFoundError:
            raise MinirunError(
                f"missing key {stem}.key for client certificate {name}",
                f"Both belong into {directory}. CA certificates must use the extension .crt.",
            ) from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise MinirunError(f"the certificate {path} cannot be used: {reason}") from None
    return context


def _files(authority: str, directories: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the files for a registry, as (directory, name), sorted."""
    found = []
    if "/" not in authority and authority not in ("", ".", ".."):
        for directory in directories:
            try:
                found += [(f"{directory}/{authority}", name) for name in sorted(os.listdir(f"{directory}/{authority}"))]
            except OSError:
                continue  # as a rule there is none
    return found
