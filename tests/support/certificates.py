"""Authorities and certificates for tests, made with openssl(1)."""

from __future__ import annotations

import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


class Authority:
    """A certificate authority with a directory for what it issues; `certificate` is its own."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.directory = directory
        self.certificate = directory / "ca.crt"
        self._key = _new_key(directory / "ca.key")
        _openssl(f"req -x509 -new -key {self._key} -days 2 -subj /CN=ca -out {self.certificate}")

    def issue(self, name: str, *, days: int = 2) -> tuple[Path, Path]:
        """Return certificate and key for 127.0.0.1 and "registry.test"; a negative number of days has passed."""
        request, certificate = (self.directory / f"{name}.{kind}" for kind in ("csr", "cert"))
        key = _new_key(self.directory / f"{name}.key")
        names = "subjectAltName=IP:127.0.0.1,DNS:registry.test"
        _openssl(f"req -new -key {key} -subj /CN={name} -addext {names} -out {request}")
        issuer = f"-CA {self.certificate} -CAkey {self._key} -copy_extensions copy"
        _openssl(f"x509 -req -in {request} {issuer} -days {days} -out {certificate}")
        return certificate, key

    def server(self, *, days: int = 2, clients: Authority | None = None) -> ssl.SSLContext:
        """Return how a server of this authority speaks TLS; it may demand a certificate of its clients."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(f"server{days}", days=days))
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(clients.certificate)
        return context


def _new_key(path: Path) -> Path:
    _openssl(f"ecparam -name prime256v1 -genkey -noout -out {path}")
    return path


def _openssl(words: str) -> None:
    subprocess.run(["openssl", *words.split()], check=True, capture_output=True)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "good")


@pytest.fixture(scope="session")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "other")
