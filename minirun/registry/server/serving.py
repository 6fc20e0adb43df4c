"""The server as a whole: from an address and files to one that answers."""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.kernel.limits import allow_open_files
from minirun.kernel.net.tcp import listen
from minirun.registry.server.answers import Answer, error
from minirun.registry.server.api import Api
from minirun.registry.server.connections import CONNECTIONS_MAX, Server
from minirun.registry.server.offers import Offers

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

    from minirun.model.layout import Layout
    from minirun.registry.server.api import Names
    from minirun.registry.server.requests import Request


def serve(
    layout: Layout,
    names: Names,
    address: tuple[str, int],
    tls: ssl.SSLContext | None,
    allow: Callable[[str], bool] | None,
    ready: Callable[[str, int], None],
) -> None:
    """Serve until an exception ends it, that of a signal. `allow` says whether the value of a header Authorization is
    enough, None lets everybody pull. `ready` is called with the address and the port when clients can come.

    Raises MinirunError where the address cannot be had.
    """
    allow_open_files(2 * CONNECTIONS_MAX)
    offers = Offers(layout)
    api = Api(layout, names, offers)

    def answer(request: Request) -> Answer:
        if allow is None or allow(request.headers.get("authorization", "")):
            return api.answer(request)
        wanted = {"WWW_Authenticate": 'Basic realm="minirun", charset="UTF-8"'}
        return error(401, "UNAUTHORIZED", "authentication required", **wanted)

    with _listening(*address) as listener:
        ready(*listener.getsockname()[:2])
        try:
            Server(listener, answer, tls).run()
        finally:
            offers.close()


def _listening(address: str, port: int) -> socket.socket:
    try:
        return listen(address, port)
    except OSError as failure:
        where = f"{address or 'all addresses'}, port {port}"
        raise MinirunError(
            f"cannot listen at {where}: {failure.strerror}", "--listen ADDRESS:PORT takes another."
        ) from None


def tls_of(certificate: str, key: str) -> ssl.SSLContext:
    """Return how TLS is spoken with a certificate (and those above it) and its key, both PEM.

    Raises MinirunError, and OSError where a file cannot be read.
    """
    import ssl

    for path in (certificate, key):
        with open(path, "rb"):
            pass  # of a file that is missing, the error that follows would not say which it is

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except _NoPasswordError:
        raise MinirunError(f"the key {key} is encrypted", "Give one without a passphrase.") from None
    except ssl.SSLError as failure:
        reason = (failure.reason or str(failure)).replace("_", " ").lower()
        raise MinirunError(f"{certificate} and {key} are no certificate with its key: {reason}") from None
    return context


class _NoPasswordError(Exception):
    """A key wants a passphrase."""


def _no_password() -> str:
    raise _NoPasswordError
