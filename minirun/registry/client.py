"""A registry's API: manifests, blobs, uploads and tags of one repository.

    client = connect(ImageRef.parse("localhost:5000/a"), push=True)[0]
    data, media_type, digest = client.manifest("1")
    for chunk in client.blob(digest, size): ...
    if not client.has_blob(digest) and not client.mount(digest, "other/repository"):
        client.put_blob(digest, size, lambda: chunks)
    client.put_manifest("1", data, media_type)

All methods raise RegistryError (its `status` and `code` are the registry's). A client is safe for several threads;
`close` it in the end, `stop` ends what other threads do with it.

Source: distribution-spec, "API"; https://distribution.github.io/distribution/spec/api/
"""

from __future__ import annotations

import hashlib
from urllib.parse import quote, urlsplit

from urllib3.exceptions import HTTPError

from minirun.model.image import DEFAULT_REGISTRY, ImageRef
from minirun.model.media_types import ACCEPTED
from minirun.registry import registries_conf
from minirun.registry.answers import Answer, next_page, resolved, rest_of_blob, whole
from minirun.registry.auth import credentials
from minirun.registry.auth.tokens import Authorizer
from minirun.registry.failures import RegistryError, explained, of_response, shown
from minirun.registry.http.retries import ATTEMPTS, wait_before
from minirun.registry.http.transport import Transport, reason_of
from minirun.storage.archive.documents import parse_json
from minirun.storage.tar.malformed import MalformedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeVar

    from urllib3 import BaseHTTPResponse

    from minirun.registry.auth.credentials import Credential
    from minirun.registry.http.transport import Body
    from minirun.registry.registries_conf import RegistriesConf

    T = TypeVar("T")

_DOCKER_HUB_HOST = "registry-1.docker.io"
_TAGS_PAGES_MAX = 1000


def connect(reference: ImageRef, *, push: bool = False, conf: RegistriesConf | None = None) -> list[Client]:
    """Return a client for each place that may have an image, mirrors first; for `push` the registry alone.

    Nothing is sent before the first request. Raises MinirunError: blocked, or unreadable files.
    """
    conf = registries_conf.read() if conf is None else conf
    return [
        Client(
            Transport(conf.is_insecure),
            place.registry,
            place.repository,
            "pull,push" if push else "pull",
            credentials.find(place.registry, place.repository),
        )
        for place in conf.locations(reference, push=push)
    ]


def ask_each(reference: ImageRef, conf: RegistriesConf, ask: Callable[[Client], T]) -> T:
    """Ask the places that may have an image, mirrors first, until one answers.

    A place that gives what is malformed has not answered. Raises MinirunError: the error of the last place, in Docker's
    words.
    """
    clients = connect(reference, conf=conf)
    for client in clients:
        try:
            return ask(client)
        except RegistryError as error:
            if client is clients[-1]:
                raise explained(error, reference) from None
        except MalformedError:
            if client is clients[-1]:
                raise
        finally:
            client.close()
    raise AssertionError("there is always a place to ask")


class Client:
    """One repository of one registry; `actions` is what tokens are asked for: "pull", or "pull,push"."""

    def __init__(
        self,
        transport: Transport,
        registry: str,
        repository: str,
        actions: str = "pull",
        credential: Credential | None = None,
    ) -> None:
        self.transport = transport
        self.registry = registry
        self.repository = repository
        self._scope = f"repository:{repository}:{actions}" if repository else ""
        self._credential = credential
        self._authorizer: Authorizer | None = None
        self._base = ""

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()

    def stop(self) -> None:
        """End the requests of all threads, which raise StoppedError then."""
        self.transport.stop()

    # -- the registry itself -------------------------------------------------------------------------------------------
    def base(self) -> str:
        """Return the URL of the registry, "https://HOST[:PORT]": it is asked once whether it speaks this API, and TLS.

        A registry that need not speak TLS is tried both ways; nothing secret is sent for that.
        """
        if self._base:
            return self._base
        authority = _DOCKER_HUB_HOST if self.registry == DEFAULT_REGISTRY else self.registry
        schemes = ("http", "https") if self.transport.is_trusted_plain(authority) else ("https",)
        for scheme in schemes:
            last = scheme == schemes[-1]
            url = f"{scheme}://{authority}"
            try:
                response = self.transport.send("GET", f"{url}/v2/", attempts=ATTEMPTS if last else 1)
            except RegistryError:
                if last:
                    raise
                continue
            self.transport.finish(response)
            if response.status == 400 and not last:
                continue  # "Client sent an HTTP request to an HTTPS server"
            self._authorizer = Authorizer(self.transport, url, self._credential)
            if response.status == 401:
                self._authorizer.learn(response.headers.get("WWW-Authenticate") or "")
            self._base = url
            break
        return self._base

    def log_in(self) -> str:
        """Check the credentials; return an identity token to be kept in place of the password, or "".

        Raises RegistryError (status 401: they are wrong).
        """
        base = self.base()
        assert self._authorizer is not None
        response = self.transport.send("GET", f"{base}/v2/", self._authorizer.headers("", offline=True))
        if response.status != 200:
            raise of_response("GET", f"{base}/v2/", response)
        self.transport.finish(response)
        return self._authorizer.identity_token

    # -- manifests -----------------------------------------------------------------------------------------------------
    def manifest(self, reference: str) -> tuple[bytes, str, str]:
        """Return a manifest or an index by its tag or digest: its bytes, media type and digest.

        What was asked for by digest has that digest; otherwise what the registry states is checked.
        """
        url = self._url(f"manifests/{reference}")
        with self._answer("GET", url, {"Accept": ACCEPTED}, expected=(200,)) as response:
            data = whole(response, url)
        stated = reference if ":" in reference else response.headers.get("Docker-Content-Digest") or ""
        algorithm = stated.partition(":")[0]
        algorithm = algorithm if algorithm in ("sha256", "sha384", "sha512") else "sha256"
        digest = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
        if stated and stated != digest:
            raise RegistryError(
                f"GET {shown(url)}: the digest of the manifest is wrong: it should be {stated[:100]} and is {digest}",
                "The registry, or something on the way to it, is broken.",
            )
        return data, (response.headers.get("Content-Type") or "").partition(";")[0].strip(), digest

    def put_manifest(self, reference: str, data: bytes, media_type: str) -> None:
        """Upload a manifest under a tag or its digest."""
        headers = {"Content-Type": media_type}
        with self._answer("PUT", self._url(f"manifests/{reference}"), headers, data, expected=(200, 201, 202)):
            pass

    # -- blobs ---------------------------------------------------------------------------------------------------------
    def document(self, digest: str, size: int, what: str) -> bytes:
        """Return a small blob whole, its digest and size checked; `what` it is stands in errors."""
        url = self._url(f"blobs/{digest}")
        with self._answer("GET", url, expected=(200,)) as response:
            data = whole(response, url)
        actual = hashlib.new(digest.partition(":")[0], data).hexdigest()
        if actual != digest.partition(":")[2]:
            raise RegistryError(f"the digest of {what} is wrong: it should be {digest} and is {actual}")
        if len(data) != size:
            raise RegistryError(f"the size of {what} is wrong: it should be {size} and is {len(data)}")
        return data

    def blob(self, digest: str, size: int) -> Iterator[bytes]:
        """Give a blob, exactly `size` bytes, in chunks of at most 256 KiB; the caller checks its digest.

        Where the connection breaks, the rest is asked for (RFC 9110, Range); attempts that bring nothing are counted.
        """
        url = self._url(f"blobs/{digest}")
        done = failed = 0
        while done < size:
            before = done
            headers = {"Range": f"bytes={done}-"} if done else {}
            with self._answer("GET", url, headers, expected=(200, 206)) as response:
                try:
                    for chunk in rest_of_blob(response, url, done, size):
                        yield chunk
                        done += len(chunk)
                    reason = "the connection was cut off"
                except (HTTPError, OSError) as error:
                    reason = reason_of(error)
            if done < size:
                failed = failed + 1 if done == before else 1
                if failed >= ATTEMPTS:
                    raise RegistryError(f"GET {shown(url)}: {reason} after {done} of {size} bytes", "Try again later.")
                self.transport.pause(wait_before(failed))

    def has_blob(self, digest: str) -> bool:
        """Say whether the repository has a blob."""
        with self._answer("HEAD", self._url(f"blobs/{digest}"), expected=(200, 404)) as response:
            return response.status == 200

    def mount(self, digest: str, repository: str) -> bool:
        """Have a blob of another repository appear in this one; say whether that was possible.

        The token must allow to pull there; where it does not, the registry only begins an upload, which it forgets.
        """
        url = self._url(f"blobs/uploads/?mount={quote(digest)}&from={quote(repository)}")
        scope = f"{self._scope} repository:{repository}:pull"
        with self._answer("POST", url, {"Content-Length": "0"}, expected=(201, 202), scope=scope) as response:
            return response.status == 201

    def put_blob(self, digest: str, size: int, chunks: Callable[[], Iterable[bytes]]) -> None:
        """Upload a blob in one request. `chunks` gives its bytes; it is called again if the connection breaks."""
        with self._answer("POST", self._url("blobs/uploads/"), {"Content-Length": "0"}, expected=(202,)) as response:
            location = self._location(response)
        url = f"{location}{'&' if urlsplit(location).query else '?'}digest={quote(digest)}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        try:
            with self._answer("PUT", url, headers, chunks, expected=(201, 204), attempts=1):
                return
        except RegistryError as error:
            if error.status and error.status < 500:
                raise
        # An upload that broke off cannot be used again by all registries: a second one is.
        with self._answer("POST", self._url("blobs/uploads/"), {"Content-Length": "0"}, expected=(202,)) as response:
            location = self._location(response)
        url = f"{location}{'&' if urlsplit(location).query else '?'}digest={quote(digest)}"
        with self._answer("PUT", url, headers, chunks, expected=(201, 204), attempts=1):
            pass

    def put_stream(self, chunks: Callable[[], Iterable[bytes]], digest: Callable[[], str]) -> None:
        """Upload a blob whose digest and size are not known before its end, when `digest` is asked.

        `chunks` gives its bytes; it is called again when the token has become too old. A connection that breaks is the
        caller's to try again.
        """
        with self._answer("POST", self._url("blobs/uploads/"), {"Content-Length": "0"}, expected=(202,)) as response:
            location = self._location(response)
        # Without a length the body goes in chunks (RFC 9112, 7.1), as Docker sends it.
        headers = {"Content-Type": "application/octet-stream"}
        with self._answer("PATCH", location, headers, chunks, expected=(202,), attempts=1) as response:
            location = self._location(response)
        url = f"{location}{'&' if urlsplit(location).query else '?'}digest={quote(digest())}"
        with self._answer("PUT", url, {"Content-Length": "0"}, expected=(201, 204)):
            pass

    # -- tags ----------------------------------------------------------------------------------------------------------
    def tags(self) -> Iterator[str]:
        """Give all tags of the repository, page by page (RFC 8288, Link: rel="next")."""
        url = self._url("tags/list")
        asked: set[str] = set()
        while url not in asked and len(asked) < _TAGS_PAGES_MAX:
            asked.add(url)
            with self._answer("GET", url, expected=(200,)) as response:
                data = whole(response, url)
            try:
                names = parse_json(data, "the list of tags")["tags"] or []
                yield from (str(name) for name in names)
            except (TypeError, LookupError):
                raise RegistryError(f"GET {shown(url)}: the list of tags is malformed") from None
            following = next_page(response.headers.get("Link") or "")
            if not following:
                return
            url = self._own(resolved(url, following))
        raise RegistryError(f"GET {shown(url)}: the list of tags does not end")

    # -- requests ------------------------------------------------------------------------------------------------------
    def _url(self, path: str) -> str:
        return f"{self.base()}/v2/{quote(self.repository)}/{path}"

    def _own(self, url: str) -> str:
        """Return a URL that the registry gave, if it leads to itself: it gets the token."""
        if urlsplit(url)[:2] != urlsplit(self._base)[:2]:
            raise RegistryError(f"the registry {self._base} sends elsewhere: {shown(url)}")
        return url

    def _location(self, response: BaseHTTPResponse) -> str:
        location = response.headers.get("Location")
        if not location:
            raise RegistryError(f"the registry {self._base} does not say where to upload to")
        return resolved(f"{self._base}/v2/", location)

    def _answer(
        self,
        method: str,
        url: str,
        headers: dict[str, str] | None = None,
        body: Body = None,
        *,
        expected: tuple[int, ...],
        scope: str = "",
        attempts: int = ATTEMPTS,
    ) -> Answer:
        """Send a request with what it needs to be allowed; a token that is too old, or missing, is replaced once."""
        self.base()
        assert self._authorizer is not None
        scope = scope or self._scope
        own = url.startswith(f"{self._base}/")
        for attempt in (1, 2):
            allowed = self._authorizer.headers(scope) if own else {}
            response = self.transport.send(method, url, {**(headers or {}), **allowed}, body, attempts=attempts)
            if response.status == 401 and attempt == 1 and own:
                self._authorizer.forget(scope)
                if self._authorizer.learn(response.headers.get("WWW-Authenticate") or ""):
                    self.transport.finish(response)
                    continue
            break
        if response.status not in expected:
            error = of_response(method, url, response)
            self.transport.finish(response)
            if response.status == 401 and not self._authorizer.has_credential:
                error.detail = error.detail if error.code else "no basic auth credentials"
            raise error
        return Answer(self.transport, response)
