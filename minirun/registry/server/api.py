"""The read half of the registry's API: what each path means.

    /v2/                          is this a registry?
    /v2/_catalog                  names of repositories           n, last: a part of them
    /v2/NAME/tags/list            tags of one                     n, last
    /v2/NAME/manifests/TAG        a manifest, by tag or digest
    /v2/NAME/blobs/DIGEST         a config or a layer             Range: a part of it
    /v2/NAME/referrers/DIGEST     what refers to a manifest: nothing

Paths are only compared with names and digests of the store's images; none becomes the path of a file.

Source: https://github.com/opencontainers/distribution-spec (1.1), "Pull", "Content Discovery".
"""

from __future__ import annotations

import re
from urllib.parse import quote

from minirun.errors import MinirunError
from minirun.model import media_types
from minirun.model.image import NAME_LENGTH_MAX
from minirun.registry.server.answers import Answer, document, error
from minirun.registry.server.offers import UnavailableError
from minirun.registry.server.plans import plan_of
from minirun.registry.server.requests import BadRequestError, byte_range
from minirun.storage.images import load_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Protocol

    from minirun.model.layout import Layout
    from minirun.registry.server.offers import Offer, Offers
    from minirun.registry.server.plans import Plan
    from minirun.registry.server.requests import Request

    class Names(Protocol):
        """Which images are served, and what they are called here."""

        def repositories(self) -> list[str]:
            """Return the names of all repositories, sorted."""

        def tags(self, repository: str) -> dict[str, str]:
            """Return the tags of a repository, with the ids of their images."""

        def images(self, repository: str = "") -> set[str]:
            """Return the ids of the images of a repository, or of all."""


# distribution-spec, "Pulling manifests".
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = rf"(?P<name>{_COMPONENT}(?:/{_COMPONENT})*)"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
_DIGEST = r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[A-Za-z0-9=_-]+"
_MANIFEST = re.compile(rf"/v2/{_NAME}/manifests/(?:(?P<tag>{_TAG})|(?P<digest>{_DIGEST}))")
_BLOB = re.compile(rf"/v2/{_NAME}/blobs/(?P<digest>{_DIGEST})")
_REFERRERS = re.compile(rf"/v2/{_NAME}/referrers/(?P<digest>{_DIGEST})")
_TAGS = re.compile(rf"/v2/{_NAME}/tags/list")
_PATH_MAX = NAME_LENGTH_MAX + 300
# What a digest stands for does not change.
_FOREVER = "max-age=31536000"
_NO_REFERRERS = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": []}


class Api:
    """Answers requests. Used by many threads."""

    def __init__(self, layout: Layout, names: Names, offers: Offers) -> None:
        self._layout = layout
        self._names = names
        self._offers = offers

    def answer(self, request: Request) -> Answer:
        """Return the answer to a request, errors included."""
        if request.method not in ("GET", "HEAD"):
            return error(405, "UNSUPPORTED", "this registry is for pulling only", Allow="GET, HEAD")
        try:
            return self._found(request)
        except BadRequestError as refusal:
            return error(refusal.status, "UNSUPPORTED", str(refusal))
        except UnavailableError:
            return error(500, "UNKNOWN", "the image cannot be served; the server's terminal tells why")

    def _found(self, request: Request) -> Answer:
        path = request.path
        if path in ("/v2", "/v2/"):
            return document({})
        if path == "/v2/_catalog":
            return _page(request, self._names.repositories(), "repositories", {})
        if len(path) <= _PATH_MAX:
            if match := _MANIFEST.fullmatch(path):
                return self._manifest(match["name"], match["tag"], match["digest"])
            if match := _BLOB.fullmatch(path):
                return self._blob(match["digest"], request)
            if match := _TAGS.fullmatch(path):
                return self._tags(match["name"], request)
            if match := _REFERRERS.fullmatch(path):
                return document(_NO_REFERRERS, media_types.OCI_INDEX)
        if path.startswith("/v2/") and path.count("/") > 3:
            return error(404, "NAME_INVALID", "there is nothing of this name")
        return error(404, "UNSUPPORTED", "there is nothing here: a registry's paths begin with /v2/")

    # -- manifests -----------------------------------------------------------------------------------------------------
    def _manifest(self, name: str, tag: str | None, digest: str | None) -> Answer:
        offer = self._by_tag(name, tag) if tag else self._by_digest(name, digest or "")
        if offer is None:
            if not self._names.images(name):
                return error(404, "NAME_UNKNOWN", f"repository {name} is not known to this registry")
            return error(404, "MANIFEST_UNKNOWN", f"there is no manifest {tag or digest} in {name}")
        plan = offer.wait()
        headers = {"Content-Type": plan.media_type, "Docker-Content-Digest": plan.digest, "Etag": f'"{plan.digest}"'}
        return Answer(200, headers, plan.manifest)

    def _by_tag(self, name: str, tag: str) -> Offer | None:
        image_id = self._names.tags(name).get(tag)
        return self._offers.offer(image_id) if image_id else None

    def _by_digest(self, name: str, digest: str) -> Offer | None:
        """Return the image whose manifest this is; an image that nobody has asked for since the server was started is
        known by it, too, where its blobs have been made at an earlier time."""
        found = self._offers.by_manifest(digest)
        if found is not None:
            return found
        for image_id, plan in self._plans(name):
            if plan is not None and plan.digest == digest:
                return self._offers.offer(image_id)
        return None

    def _plans(self, name: str = "") -> Iterator[tuple[str, Plan | None]]:
        """Give the images of a repository, or all, as far as they can be served."""
        for image_id in sorted(self._names.images(name)):
            try:
                yield image_id, plan_of(self._layout, load_image(self._layout, image_id))
            except MinirunError:
                continue  # it is damaged, or has just gone

    # -- blobs ---------------------------------------------------------------------------------------------------------
    def _blob(self, digest: str, request: Request) -> Answer:
        headers = {
            "Content-Type": "application/octet-stream",
            "Docker-Content-Digest": digest,
            "Etag": f'"{digest}"',
            "Cache-Control": _FOREVER,
            "Accept-Ranges": "bytes",
        }
        config, file = self._offers.config(digest), self._offers.blob(digest)
        if not config and file is None and self._offer_with(digest):
            config, file = self._offers.config(digest), self._offers.blob(digest)
        if config:
            return _part(Answer(200, headers, config), request)
        if file is None or file.known is None:
            return error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        return _part(Answer(200, headers, file=file, end=file.known.size), request)

    def _offer_with(self, digest: str) -> bool:
        """Begin to serve the image that a blob is of, for a client that knows it from before this server was started;
        say whether there is one."""
        for image_id, plan in self._plans():
            if image_id == digest or (plan and any(blob.digest == digest for _, blob in plan.blobs.values())):
                self._offers.offer(image_id).wait()
                return True
        return False

    # -- lists ---------------------------------------------------------------------------------------------------------
    def _tags(self, name: str, request: Request) -> Answer:
        tags = self._names.tags(name)
        if not tags:
            return error(404, "NAME_UNKNOWN", f"repository {name} is not known to this registry")
        return _page(request, sorted(tags), "tags", {"name": name})


def _page(request: Request, every: Sequence[str], key: str, fields: dict[str, str]) -> Answer:
    """Answer with a list, or where the query has `n` with so many of it after `last`, and where the next page is."""
    last, n = request.query.get("last", ""), request.query.get("n", "")
    rest = [one for one in every if one > last]
    if n and not (n.isascii() and n.isdigit() and len(n) < 10):
        return error(400, "PAGINATION_NUMBER_INVALID", "n is a number of entries")
    page = rest[: int(n)] if n else rest
    link = {}
    if page and len(page) < len(rest):
        link["Link"] = f'<{request.path}?n={n}&last={quote(page[-1], safe="")}>; rel="next"'
    return document({**fields, key: page}, **link)


def _part(answer: Answer, request: Request) -> Answer:
    """Return the part of an answer that the request wants, where it wants a part (RFC 9110, 14.2 and 13.1.5)."""
    wanted, condition = request.headers.get("range", ""), request.headers.get("if-range")
    if not wanted or request.method != "GET" or condition not in (None, answer.headers["Etag"]):
        return answer
    size = answer.length
    try:
        found = byte_range(wanted, size)
    except BadRequestError as refusal:
        return error(refusal.status, "RANGE_INVALID", str(refusal), Content_Range=f"bytes */{size}")
    if found is None:
        return answer
    begin, end = found
    headers = {**answer.headers, "Content-Range": f"bytes {begin}-{end - 1}/{size}"}
    return answer.replace(status=206, headers=headers, text=answer.text[begin:end], begin=begin, end=end)
