"""What /etc/containers/registries.conf says: mirrors, insecure and blocked registries, short names.

    unqualified-search-registries = ["quay.io"]

    [[registry]]
    prefix = "docker.io/library"     # which names this is about: HOST[:PORT][/PATH], or *.DOMAIN; default: location
    location = "mirror.example/hub"  # what stands in place of the prefix; default: the prefix
    insecure = false                 # TLS need not be right, or may be missing
    blocked = false

    [[registry.mirror]]              # asked first, in this order
    location = "cache.example/hub"
    insecure = false
    pull-from-mirror = "all"         # or digest-only, or tag-only

    [aliases]
    "fedora" = "registry.fedoraproject.org/fedora"

Files in registries.conf.d/ come after it, and change it. Source: containers-registries.conf(5).
"""

from __future__ import annotations

import os
import tomllib

from minirun.errors import MinirunError
from minirun.kernel.hostfiles import read_small
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minirun.model.image import ImageRef

PATH = "/etc/containers/registries.conf"
_BOTH, _DIGEST, _TAG = "all", "digest-only", "tag-only"


class Location(Record):
    """A place that may have an image: HOST[:PORT], the repository there, and whether its TLS need not be right."""

    registry: str
    repository: str
    insecure: bool = False


class Mirror(Record):
    """A place that is asked before the registry itself; `kind` says for which references."""

    location: str
    insecure: bool = False
    kind: str = _BOTH


class Registry(Record):
    """What one [[registry]] says of the names that begin with its prefix."""

    prefix: str
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    mirrors: tuple[Mirror, ...] = ()

    def matches(self, name: str) -> bool:
        """Say whether this is about a name without tag and digest, "HOST[:PORT]/PATH"."""
        if self.prefix.startswith("*."):
            host = name.partition("/")[0].partition(":")[0]
            return "/" not in self.prefix and host.endswith(self.prefix[1:])
        return name == self.prefix or name.startswith(f"{self.prefix}/")


class RegistriesConf(Record):
    """All that the files say."""

    registries: tuple[Registry, ...] = ()
    search: tuple[str, ...] = ()
    aliases: dict[str, str] = {}

    def registry_of(self, name: str) -> Registry | None:
        """Return what is said of a name: the longest prefix that fits."""
        fitting = [registry for registry in self.registries if registry.matches(name)]
        return max(fitting, key=lambda registry: len(registry.prefix), default=None)

    def locations(self, reference: ImageRef, *, push: bool = False) -> list[Location]:
        """Return where an image may be, mirrors first, which `push` leaves out. Raises MinirunError: blocked."""
        registry = self.registry_of(reference.name)
        if registry is None:
            return [Location(reference.registry, reference.repository)]
        if registry.blocked:
            raise MinirunError(
                f"registry {registry.prefix} is blocked in {PATH}", "Somebody who looks after this machine wants that."
            )
        own = _moved(reference.name, registry, registry.location, registry.insecure)
        if push:
            return [own]
        kind = _DIGEST if reference.digest else _TAG
        mirrors = [mirror for mirror in registry.mirrors if mirror.kind in (_BOTH, kind)]
        return [*(_moved(reference.name, registry, mirror.location, mirror.insecure) for mirror in mirrors), own]

    def is_insecure(self, authority: str) -> bool:
        """Say whether TLS with a HOST[:PORT] need not be right."""
        places = [(registry.location or registry.prefix, registry.insecure) for registry in self.registries]
        places += [(mirror.location, mirror.insecure) for registry in self.registries for mirror in registry.mirrors]
        return any(insecure and place.partition("/")[0] == authority for place, insecure in places)


def read(path: str = "") -> RegistriesConf:
    """Read registries.conf and what stands in registries.conf.d/; a missing file says nothing. Raises MinirunError."""
    path = path or os.environ.get("CONTAINERS_REGISTRIES_CONF") or PATH
    found = _read_file(path)
    try:
        names = sorted(name for name in os.listdir(f"{path}.d") if name.endswith(".conf"))
    except OSError:
        names = []
    for name in names:
        later = _read_file(f"{path}.d/{name}")
        overridden = {registry.prefix for registry in later.registries}
        kept = tuple(registry for registry in found.registries if registry.prefix not in overridden)
        found = RegistriesConf(kept + later.registries, later.search or found.search, found.aliases | later.aliases)
    return found


def parse(text: str, path: str = PATH) -> RegistriesConf:
    """Read the text of a file. Raises MinirunError, which says what is wrong with it."""
    try:
        document = tomllib.loads(text)
        return RegistriesConf(
            tuple(_registry(table) for table in _tables(document, "registry")),
            _texts(document, "unqualified-search-registries"),
            _aliases(document),
        )
    except (ValueError, RecursionError) as error:
        raise MinirunError(f"{path} cannot be used: {error or 'it is nested too deep'}") from None


def _read_file(path: str) -> RegistriesConf:
    try:
        return parse(read_small(os.path.realpath(path)).decode(), path)
    except FileNotFoundError:
        return RegistriesConf()
    except UnicodeDecodeError:
        raise MinirunError(f"{path} cannot be used: it is not UTF-8") from None


def _moved(name: str, registry: Registry, location: str, insecure: bool) -> Location:
    """Put a location in the place of the prefix of a name."""
    if location:
        rest = "" if registry.prefix.startswith("*.") else name[len(registry.prefix) :]
        name = f"{location}{rest}" if not registry.prefix.startswith("*.") else f"{location}/{name.partition('/')[2]}"
    host, _, repository = name.partition("/")
    return Location(host, repository, insecure)


# -- tables of TOML ----------------------------------------------------------------------------------------------------
def _registry(table: dict[str, Any]) -> Registry:
    location = _text(table, "location").rstrip("/")
    prefix = _text(table, "prefix").rstrip("/") or location
    if not prefix:
        raise ValueError("a [[registry]] has neither prefix nor location")
    if not location and not prefix.startswith("*."):
        location = prefix
    mirrors = tuple(_mirror(mirror) for mirror in _tables(table, "mirror"))
    return Registry(prefix, location, _flag(table, "insecure"), _flag(table, "blocked"), mirrors)


def _mirror(table: dict[str, Any]) -> Mirror:
    location = _text(table, "location").rstrip("/")
    kind = _text(table, "pull-from-mirror") or _BOTH
    if not location or kind not in (_BOTH, _DIGEST, _TAG):
        raise ValueError("a [[registry.mirror]] has no location, or an unknown pull-from-mirror")
    return Mirror(location, _flag(table, "insecure"), kind)


def _tables(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    tables = document.get(key, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ValueError(f"{key} must be written as [[{key}]]")
    return tables


def _text(table: dict[str, Any], key: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise ValueError(f"{key} is not text")
    return value


def _flag(table: dict[str, Any], key: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise ValueError(f"{key} is neither true nor false")
    return value


def _texts(table: dict[str, Any], key: str) -> tuple[str, ...]:
    values = table.get(key, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{key} is not a list of texts")
    return tuple(values)


def _aliases(document: dict[str, Any]) -> dict[str, str]:
    aliases = document.get("aliases", {})
    if not isinstance(aliases, dict) or not all(isinstance(value, str) for value in aliases.values()):
        raise ValueError("[aliases] is not a table of texts")
    return aliases
