"""Making volumes: by `volume create`, and with the container that names them."""

from __future__ import annotations

import os
import time

from minirun.engine.volume.checks import check_name, check_options
from minirun.model.volume import ANONYMOUS, Volume
from minirun.storage.volumes import records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from minirun.model.container import ContainerRecord
    from minirun.model.layout import Layout


def create(
    layout: Layout, name: str = "", labels: Mapping[str, str] | None = None, options: Mapping[str, str] | None = None
) -> str:
    """Make a volume, and return its name: a random one without `name`. One that exists stays as it is.

    Raises MinirunError.
    """
    volume = described(name, labels, options)
    with records.locked(layout):
        records.make(layout, volume)
    return volume.name


def described(name: str, labels: Mapping[str, str] | None = None, options: Mapping[str, str] | None = None) -> Volume:
    """Return what is to be made, after its check. Raises MinirunError."""
    wanted = dict(labels or {})
    if not name:
        name = os.urandom(32).hex()
        wanted[ANONYMOUS] = ""
    check_name(name)
    check_options(name, options or {})
    return Volume(name, time.time(), wanted, dict(options or {}))


def make_missing(layout: Layout, record: ContainerRecord) -> None:
    """Make the volumes of a container that do not exist yet. The caller holds the lock of all. Raises OSError."""
    for mount in record.request.mounts:
        if mount.kind == "volume":
            anonymous = {ANONYMOUS: ""} if mount.source in record.anonymous_volumes else {}
            labels = anonymous | mount.labels
            records.make(layout, Volume(mount.source, time.time(), labels, mount.driver_options))
