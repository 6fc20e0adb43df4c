"""Which images a name may mean.

A name with a registry means that one. A name without means docker.io, as with Docker, unless registries.conf has an
alias for it; after docker.io, the registries follow that registries.conf lists for searching.
"""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.model.image import DEFAULT_REGISTRY, ImageRef

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.registry.registries_conf import RegistriesConf


def candidates(text: str, conf: RegistriesConf) -> list[ImageRef]:
    """Return what a reference may mean, in the order in which it is looked for. Raises MinirunError (125)."""
    first = ImageRef.parse(text)
    if not is_short(text, first):
        return [first]
    rest = text.partition("@")[0]
    name = rest.rpartition(":")[0] if ":" in rest else rest
    alias = conf.aliases.get(name)
    if alias:
        meant = ImageRef.parse(alias)
        return [first.replace(registry=meant.registry, repository=meant.repository)]
    return [first, *(other for registry in conf.search if (other := _under(registry, text)) and other != first)]


def is_short(text: str, reference: ImageRef) -> bool:
    """Say whether a reference names no registry, so that docker.io is only the default."""
    return reference.registry == DEFAULT_REGISTRY and not text.startswith((f"{DEFAULT_REGISTRY}/", "index.docker.io/"))


def _under(registry: str, text: str) -> ImageRef | None:
    try:
        return ImageRef.parse(f"{registry}/{text}")
    except MinirunError:
        return None  # the entry is no registry
