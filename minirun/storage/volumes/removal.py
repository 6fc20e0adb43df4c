"""The end of volumes: one rename each, under the lock; their files go after that."""

from __future__ import annotations

from minirun.kernel import hostfiles
from minirun.storage import reserve
from minirun.storage.ingest import Ingest
from minirun.storage.tree_size import size_of_tree
from minirun.storage.volumes.records import directory, locked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from minirun.model.layout import Layout


def remove(layout: Layout, choose: Callable[[], Iterable[str]]) -> tuple[list[str], int]:
    """Remove the volumes that `choose` returns while it holds the lock: nobody takes one into use meanwhile.

    Return the names of those that there were, and the bytes of their files. Raises OSError.
    """
    gone = []
    with reserve.given_back(layout), Ingest(layout) as ingest:
        with locked(layout):
            for name in choose():
                try:
                    hostfiles.rename(directory(layout, name), f"{ingest.path}/{name}")
                    gone.append(name)
                except FileNotFoundError:
                    continue
        # A large volume takes its time, and nobody has to wait for it.
        freed = sum(size_of_tree(f"{ingest.path}/{name}/_data") for name in gone)
    return gone, freed
