"""Removing volumes: `volume rm` and `prune`, and what goes with a container. None goes that a container has."""

from __future__ import annotations

from minirun.engine.volume import users
from minirun.errors import DamagedError, MinirunError
from minirun.storage.volumes import records, removal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from minirun.model.container import ContainerRecord
    from minirun.model.layout import Layout
    from minirun.model.volume import Volume


def remove(layout: Layout, name: str, *, force: bool = False) -> None:
    """Remove a volume that no container has. With `force` it may be missing. Raises MinirunError (exit code 1)."""

    def choose() -> list[str]:
        if having := users.among(users.all_containers(layout), name):
            raise MinirunError(
                f"remove {name}: volume is in use - [{', '.join(having)}]",
                f"'minirun ps -a --filter volume={name}' lists who has it, and 'minirun rm' removes those.",
                1,
            )
        return [name]

    if records.exists(layout, name):
        removal.remove(layout, choose)
    elif not force:
        raise records.no_such_volume(name)


def remove_anonymous(layout: Layout, names: Iterable[str], container_id: str) -> None:
    """Remove the anonymous volumes of a container that goes; what others have by --volumes-from stays theirs."""

    def choose() -> list[str]:
        try:
            others = [record for record in users.all_containers(layout) if record.id != container_id]
        except MinirunError:
            return []  # they may be somebody else's, too: `volume prune` removes them when that is known
        return [name for name in names if not users.among(others, name)]

    removal.remove(layout, choose)


def prune(layout: Layout, allowed: Callable[[Volume], bool], *, named: bool) -> tuple[list[str], int]:
    """Remove the volumes that no container has; return their names and the bytes that came free.

    Those without a name only, unless `named`; and none whose options say that its files are elsewhere. Raises
    MinirunError when a container's record is damaged: its volumes are not known.
    """

    def unused(containers: list[ContainerRecord], name: str) -> bool:
        try:
            volume = records.load(layout, name)
        except DamagedError:
            return False  # nobody knows whether its files are elsewhere
        wanted = (named or volume.is_anonymous) and not volume.options and allowed(volume)
        return wanted and not users.among(containers, name)

    def choose() -> list[str]:
        containers = users.all_containers(layout)
        return [name for name in records.names(layout) if unused(containers, name)]

    return removal.remove(layout, choose)
