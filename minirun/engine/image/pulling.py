"""Which image a name means is found out at the registries; then it is pulled."""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.kernel.cpu import host_platform
from minirun.model.image import ImageRef
from minirun.model.platform import parse_platform
from minirun.model.record import Record
from minirun.registry import registries_conf
from minirun.registry.client import connect
from minirun.registry.failures import MissingError, RegistryError, explained
from minirun.registry.pull import Pulled, pull_image
from minirun.registry.reference_names import candidates
from minirun.storage.images import read_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from minirun.model.layout import Layout
    from minirun.registry.progress import PullProgress
    from minirun.registry.registries_conf import RegistriesConf

    T = TypeVar("T")


class Arrived(Record):
    """An image that has been pulled, and the name it goes by."""

    name: ImageRef
    pulled: Pulled


def pull(layout: Layout, text: str, platform: str, progress: PullProgress) -> Arrived:
    """Pull what a reference means, from the first place that has it. Raises MinirunError."""
    conf = registries_conf.read()
    host = host_platform()
    wanted = parse_platform(platform, host) if platform else None

    def attempt(name: ImageRef) -> Arrived:
        return Arrived(name, pull_image(layout, name, host, wanted, progress, conf))

    return first_place(text, conf, attempt)


def name_here(layout: Layout, text: str, platform: str) -> str:
    """Return under which name an image is in the store that registries.conf has other names for; "" if there is none.

    Also "" where a platform is asked for: only the pull knows what it stands for.
    """
    names = read_names(layout)
    others = candidates(text, registries_conf.read()) if not platform else []
    return next((str(name) for name in others if str(name) in names), "")


def pull_all(layout: Layout, text: str, platform: str, progress: PullProgress) -> Iterator[Arrived]:
    """Pull every tag of a repository, and give each as soon as it is there. Raises MinirunError."""
    conf = registries_conf.read()
    host = host_platform()
    wanted = parse_platform(platform, host) if platform else None
    if "@" in text or ":" in text.rpartition("/")[2]:
        raise MinirunError("tag can't be used with --all-tags/-a", "Leave the tag out, or -a.")
    repository, tags = first_place(text, conf, lambda name: (name, _tags(name, conf)))
    for tag in tags:
        name = repository.replace(tag=tag)
        yield Arrived(name, pull_image(layout, name, host, wanted, progress, conf))


def first_place(text: str, conf: RegistriesConf, attempt: Callable[[ImageRef], T]) -> T:
    """Try what a reference may mean until something is there; the error is that of the first."""
    first: MissingError | None = None
    for name in candidates(text, conf):
        try:
            return attempt(name)
        except MissingError as error:
            first = first or error
    assert first
    raise first


def _tags(name: ImageRef, conf: RegistriesConf) -> list[str]:
    """Return the tags that a repository has and that can be names."""
    client = connect(name, conf=conf)[-1]
    try:
        return [tag for tag in client.tags() if _is_tag(name, tag)]
    except RegistryError as error:
        raise explained(error, name) from None
    finally:
        client.close()


def _is_tag(name: ImageRef, tag: str) -> bool:
    try:
        return ImageRef.parse(f"{name.name}:{tag}").tag == tag
    except MinirunError:
        return False
