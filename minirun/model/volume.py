"""A volume: files that outlive containers, under a name."""

from __future__ import annotations

from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.typed import FileName, Seconds

ANONYMOUS = "com.docker.volume.anonymous"
"""The label by which Docker, since 23, knows volumes that nobody has named."""


class Volume(Record):
    """What minirun remembers of a volume, kept in root/volumes/NAME/volume.json until `volume rm`.

    `options` are those of the local driver: "type", "device" and "o" say what is mounted as the volume; without any it
    is a directory of the store.
    """

    name: FileName
    created_at: Seconds = 0.0
    labels: dict[str, str] = {}
    options: dict[str, str] = {}

    @property
    def is_anonymous(self) -> bool:
        """Say whether nobody has named it, so that it goes with its container or by `volume prune`."""
        return ANONYMOUS in self.labels
