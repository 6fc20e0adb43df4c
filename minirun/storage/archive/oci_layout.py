"""Which images an OCI layout holds (image-spec image-layout.md, image-index.md, manifest.md).

    index.json      a descriptor for each image, with its name; or for each platform of one image
      index           one image for several platforms
        manifest        the image for one platform: a config, and layers

skopeo's `dir:` is the same without index.json: its manifest.json is the manifest or the index, and blobs lie beside it.
What is no image, such as a signature, an SBOM, a chart, looks like a manifest, too: an *artifact*, which is skipped.
"""

from __future__ import annotations

from minirun.kernel.cpu import host_platform
from minirun.model import media_types
from minirun.model.platform import Platform, normalised
from minirun.model.record import Record
from minirun.storage.archive.documents import parse_json
from minirun.storage.archive.found import Found, Skipped, name_of, verify
from minirun.storage.archive.sources import read_document
from minirun.storage.layers import check_digest
from minirun.storage.tar.limits import DOCUMENT_COST, DOCUMENTS_MAX, IMAGES_MAX, INDEX_DEPTH_MAX
from minirun.storage.tar.malformed import MalformedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import Any

    from minirun.storage.archive.sources import Source


class _Blobs:
    """The documents among the blobs of a layout, which lie below blobs/, or in skopeo's flat directory."""

    def __init__(self, source: Source, *, flat: bool) -> None:
        self._source = source
        self._flat = flat
        self._read = 0

    def name(self, digest: str) -> str:
        """Return the member that holds a blob."""
        algorithm, _, digits = digest.partition(":")
        return digits if self._flat else f"blobs/{algorithm}/{digits}"

    def manifest(self, digest: str) -> bytes:
        """Return a manifest or an index, verified. Raises MalformedError."""
        return self._document(
            f"{self.name(digest)}.manifest.json" if self._flat else self.name(digest), digest, "a manifest"
        )

    def config(self, digest: str) -> bytes:
        """Return an image's config, verified. Raises MalformedError."""
        return self._document(self.name(digest), digest, "the image's config")

    def _document(self, name: str, digest: str, what: str) -> bytes:
        data = read_document(self._source, name)
        verify(data, digest, what)
        self._read += len(data) + DOCUMENT_COST
        if self._read > DOCUMENTS_MAX:
            raise MalformedError("the archive is refused: its indexes lead to too many manifests")
        return data


class _Candidate(Record):
    """A manifest that one name may mean, the platform that its descriptor states, and whether no index led to it."""

    manifest: bytes
    platform: Platform | None
    direct: bool


def images_of_layout(source: Source) -> Iterator[Found | Skipped]:
    """Give the image of each name in index.json that suits this machine best. Raises MalformedError."""
    blobs = _Blobs(source, flat=False)
    descriptors = descriptors_of(parse_json(read_document(source, "index.json"), "index.json"), "index.json")
    if not descriptors:
        raise MalformedError("the archive has no image in it")
    if len(descriptors) > IMAGES_MAX:
        raise MalformedError(f"the archive is refused: it has more than {IMAGES_MAX} images")
    names: dict[bytes, list[str]] = {}
    for name, group in _by_name(descriptors).items():
        candidates: list[_Candidate] = []
        for descriptor in group:
            artifact = artifact_of_descriptor(descriptor)
            if artifact:
                yield Skipped(_shown(descriptor), f"it is an artifact, not an image ({artifact})")
            else:
                candidates += _candidates(blobs, descriptor)
        found = yield from _choose(blobs, _shown(group[0]), candidates)
        if found:
            names.setdefault(found, []).extend([name] if _name(group[0]) else [])
    for manifest, given in names.items():
        yield _image(blobs, manifest, given)


def images_of_directory(source: Source, data: bytes) -> Iterator[Found | Skipped]:
    """Give the image of skopeo's flat directory, whose manifest.json is `data`. Raises MalformedError."""
    blobs = _Blobs(source, flat=True)
    document = parse_json(data, "manifest.json")
    if isinstance(document, dict) and "manifests" in document:
        inner = descriptors_of(document, "manifest.json")
        candidates = [one for descriptor in inner for one in _candidates(blobs, descriptor, 1)]
    else:
        candidates = [_Candidate(data, None, direct=True)]
    found = yield from _choose(blobs, "manifest.json", candidates)
    if found:
        yield _image(blobs, found, [])


def _by_name(descriptors: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Put descriptors together that are one image: those of one name, and those without one for several platforms."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for descriptor in descriptors:
        alone = "" if descriptor.get("platform") else f" {descriptor['digest']}"  # no name begins with a space
        groups.setdefault(_name(descriptor) or alone, []).append(descriptor)
    return groups


def _candidates(blobs: _Blobs, descriptor: dict[str, Any], depth: int = 0) -> Iterator[_Candidate]:
    """Go from a descriptor to manifests, through indexes."""
    if depth > INDEX_DEPTH_MAX:
        raise MalformedError("the archive is refused: its indexes are nested too deep")
    platform = platform_of(descriptor.get("platform"))
    if depth and (artifact_of_descriptor(descriptor) or (platform and platform.os == "unknown")):
        return  # an attestation of BuildKit's beside the image that it is about
    data = blobs.manifest(descriptor["digest"])
    document = parse_json(data, "a manifest")
    if not isinstance(document, dict):
        raise MalformedError("a manifest is malformed")
    if descriptor.get("mediaType") not in media_types.INDEXES and "manifests" not in document:
        yield _Candidate(data, platform, direct=depth == 0)
        return
    for inner in descriptors_of(document, "an index"):
        yield from _candidates(blobs, inner, depth + 1)


def _choose(blobs: _Blobs, name: str, candidates: list[_Candidate]) -> Generator[Skipped, None, bytes | None]:
    """Return the manifest that suits this machine best, or None; give what is no image.

    An image that is there for one platform only, without an index, is taken whatever that is.
    """
    images = []
    for candidate in candidates:
        artifact = artifact_of_manifest(candidate.manifest)
        if artifact:
            yield Skipped(name, f"it is an artifact, not an image ({artifact})")
        else:
            images.append(candidate)
    if len(images) == 1 and images[0].direct:
        return images[0].manifest
    host = host_platform()
    offered = [
        (candidate.platform or _platform_of_config(blobs, candidate.manifest), candidate) for candidate in images
    ]
    suitable = [(host.preference(platform), one) for platform, one in offered if host.preference(platform) >= 0]
    if suitable:
        return min(suitable, key=lambda pair: pair[0])[1].manifest
    if offered:
        platforms = ", ".join(sorted({str(platform) for platform, _ in offered}))
        yield Skipped(name, f"there is no image for {host} in it, but for {platforms}")
    return None


def _image(blobs: _Blobs, data: bytes, names: list[str]) -> Found:
    manifest = image_manifest(data)
    config = blobs.config(descriptors_of({"manifests": [manifest["config"]]}, "the manifest")[0]["digest"])
    layers = descriptors_of({"manifests": manifest.get("layers") or []}, "the manifest")
    return Found(
        config,
        tuple(blobs.name(layer["digest"]) for layer in layers),
        tuple(layer["digest"] for layer in layers),
        tuple(dict.fromkeys(map(name_of, names))),
        data,
    )


def image_manifest(data: bytes) -> dict[str, Any]:
    document = parse_json(data, "an image manifest")
    if not isinstance(document, dict) or not isinstance(document.get("config"), dict):
        raise MalformedError("this is not an image manifest that minirun can read (schema version 1 is too old)")
    return document


# -- what descriptors say ----------------------------------------------------------------------------------------------
def artifact_of_descriptor(descriptor: dict[str, Any]) -> str:
    """Return what kind of artifact a descriptor leads to; nothing for an image, as far as it says."""
    kind = descriptor.get("mediaType")
    if descriptor.get("artifactType"):
        return str(descriptor["artifactType"])
    return str(kind) if kind and kind not in media_types.MANIFESTS | media_types.INDEXES else ""


def artifact_of_manifest(data: bytes) -> str:
    """Return what kind of artifact a manifest is, and nothing for an image (manifest.md, "Guidelines for Artifact
    Usage"): its type, or that of a config or of layers which no image has."""
    manifest = image_manifest(data)
    if manifest.get("artifactType"):
        return str(manifest["artifactType"])
    kind = manifest["config"].get("mediaType")
    if kind and kind not in media_types.CONFIGS:
        return str(kind)
    layers = manifest.get("layers")
    kinds = [layer.get("mediaType") for layer in layers if isinstance(layer, dict)] if isinstance(layers, list) else []
    return next((str(kind) for kind in kinds if kind and not str(kind).startswith(media_types.LAYERS)), "")


def platform_of(value: object) -> Platform | None:
    if not isinstance(value, dict):
        return None
    texts = [value.get(key) or "" for key in ("os", "architecture", "variant")]
    return normalised(*map(str, texts))


def _platform_of_config(blobs: _Blobs, data: bytes) -> Platform:
    digest = descriptors_of({"manifests": [image_manifest(data)["config"]]}, "the manifest")[0]["digest"]
    return platform_of(parse_json(blobs.config(digest), "the image's config")) or Platform("", "")


def descriptors_of(document: Any, what: str) -> list[dict[str, Any]]:
    """Return the descriptors of an index, their digests checked for form."""
    descriptors = document.get("manifests") if isinstance(document, dict) else None
    if not isinstance(descriptors, list):
        raise MalformedError(f"{what} is malformed")
    for descriptor in descriptors:
        if not isinstance(descriptor, dict) or not isinstance(descriptor.get("digest"), str):
            raise MalformedError(f"{what} is malformed")
        check_digest(descriptor["digest"])
    return descriptors


def _name(descriptor: dict[str, Any]) -> str:
    """Read the image's name: containerd and Docker write it whole, podman and skopeo as the OCI's ref.name."""
    annotations = descriptor.get("annotations")
    if not isinstance(annotations, dict):
        return ""
    name = annotations.get("io.containerd.image.name") or annotations.get("org.opencontainers.image.ref.name")
    return name if isinstance(name, str) else ""


def _shown(descriptor: dict[str, Any]) -> str:
    return _name(descriptor) or str(descriptor["digest"])
