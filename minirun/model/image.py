"""Images: references to them, their configuration, and the layers they are made of."""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minirun.model.typed import Bytes, Digest

DEFAULT_REGISTRY = "docker.io"
DEFAULT_NAMESPACE = "library"
# What Podman and Buildah put before a name without a registry that they have made themselves.
LOCAL_REGISTRY = "localhost"
DEFAULT_TAG = "latest"
NAME_LENGTH_MAX = 255

# The grammar of github.com/distribution/reference, regexp.go.
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REGISTRY = (
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])"
)
_PORT = r"(?::[0-9]+)?"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_DIGEST = r"(?:sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})"


class ImageRef(Record):
    """A name for an image as Docker writes it: `busybox` is docker.io/library/busybox:latest.

    `tag` is empty when there is a digest and no tag; `digest` ("sha256:...") is that of the manifest.
    """

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> ImageRef:
        """Read a reference and fill in Docker's defaults.

        Source: distribution/reference, ParseNormalizedNamed and TagNameOnly. Raises MinirunError (125) for what Docker
        calls an invalid reference format.
        """
        rest, _, digest = text.partition("@")
        if "@" in text and not (":" in digest and _fits(_DIGEST, digest)):
            raise _bad_reference(text)
        name, tag = rest, ""
        if ":" in rest.rpartition("/")[2]:
            name, _, tag = rest.rpartition(":")
            if not _fits(_TAG, tag):
                raise _bad_reference(text)
        registry, repository = _split_registry(name)
        if len(name) == 64 and not name.strip("0123456789abcdef"):
            raise MinirunError(
                f"invalid reference format: '{text}' is an image id, and a name cannot look like one",
            )
        if repository != repository.lower():
            raise MinirunError(f"invalid reference format: repository name ({repository}) must be lowercase")
        if not all(_fits(_COMPONENT, part) for part in repository.split("/")):
            raise _bad_reference(text)
        if registry != DEFAULT_REGISTRY and not _fits(_REGISTRY + _PORT, registry):
            raise _bad_reference(text)
        if len(f"{registry}/{repository}") > NAME_LENGTH_MAX:
            raise MinirunError(f"invalid reference format: the name has more than {NAME_LENGTH_MAX} characters")
        return cls(registry, repository, tag or ("" if digest else DEFAULT_TAG), digest)

    @property
    def name(self) -> str:
        """The full name without tag and digest: docker.io/library/busybox."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar_name(self) -> str:
        """The name without tag and digest as Docker prints it: busybox."""
        if self.registry != DEFAULT_REGISTRY:
            return self.name
        return self.repository.removeprefix(f"{DEFAULT_NAMESPACE}/")

    @property
    def familiar(self) -> str:
        """The whole reference as Docker prints it: busybox:latest."""
        return self.familiar_name + self._suffix()

    @property
    def unqualified_twin(self) -> ImageRef | None:
        """The other full name of a name without a registry: localhost/a/b:1 for docker.io/a/b:1, and the other way."""
        if self.registry == DEFAULT_REGISTRY:
            return self.replace(
                registry=LOCAL_REGISTRY, repository=self.repository.removeprefix(f"{DEFAULT_NAMESPACE}/")
            )
        if self.registry == LOCAL_REGISTRY:
            plain = "/" not in self.repository
            repository = f"{DEFAULT_NAMESPACE}/{self.repository}" if plain else self.repository
            return self.replace(registry=DEFAULT_REGISTRY, repository=repository)
        return None

    def __str__(self) -> str:
        return self.name + self._suffix()

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def _fits(pattern: str, text: str) -> bool:
    """Say whether a part of a reference is well-formed."""
    if 0 < len(text) <= 128 and _PLAIN.issuperset(text):
        return True  # as nearly every name, for which `run` does not import `re`: that takes 5 ms
    import re

    return re.fullmatch(pattern, text) is not None


def _split_registry(name: str) -> tuple[str, str]:
    """Split off the registry: the first part, if it looks like a host (reference.splitDockerDomain)."""
    first, slash, rest = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost" or first.lower() != first):
        registry, repository = DEFAULT_REGISTRY, name
    else:
        registry, repository = first, rest
    if registry == "index.docker.io":
        registry = DEFAULT_REGISTRY
    if registry == DEFAULT_REGISTRY and "/" not in repository:
        repository = f"{DEFAULT_NAMESPACE}/{repository}"
    return registry, repository


def _bad_reference(text: str) -> MinirunError:
    return MinirunError(
        f"invalid reference format: '{text}'", "A reference is written [registry[:port]/]name[:tag][@digest]."
    )


class Layer(Record):
    """One layer: `diff_id` is the sha256 of the uncompressed tar, `digest` and `size` those of the blob it came
    from; `unpacked_size` is the bytes of the regular files in it."""

    diff_id: Digest
    digest: Digest = ""
    size: Bytes = 0
    media_type: str = ""
    unpacked_size: Bytes = 0


class ImageConfig(Record):
    """The part of an image's config that a container starts from (image-spec config.md, "config")."""

    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    working_dir: str = ""
    labels: dict[str, str] = {}
    stop_signal: str = ""
    shell: tuple[str, ...] = ()
    healthcheck: dict[str, Any] = {}


class Image(Record):
    """An image as the store holds it: `id` is its config's digest ("sha256:..."), lowest layer first.

    `created` is RFC 3339 text; `size` is the bytes of all regular files in its layers; `manifest` is the digest of its
    manifest in the store, or empty where the archive that it came from had none.
    """

    id: Digest
    config: ImageConfig
    layers: tuple[Layer, ...]
    architecture: str = "amd64"
    os: str = "linux"
    created: str = ""
    size: Bytes = 0
    manifest: Digest = ""
    variant: str = ""


class Snapshot(Record):
    """An overlayfs mount that has not been made yet.

    `lowers` are directory names relative to `directory`, topmost layer first (short names, because mount(2) takes at
    most a page of options and 127 layers must fit); `upper` and `work` are absolute paths on one file system;
    `target` is the directory to mount on.
    """

    directory: str
    lowers: tuple[str, ...]
    upper: str
    work: str
    target: str
