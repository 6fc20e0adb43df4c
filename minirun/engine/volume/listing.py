"""What `volume ls` and `volume inspect` say of volumes."""

from __future__ import annotations

import re

from minirun.engine.container.inspect import rfc3339
from minirun.engine.container.records import all_records
from minirun.engine.prune_filters import has_label
from minirun.engine.volume import users
from minirun.errors import DamagedError, MinirunError, warn_once
from minirun.model.volume import Volume
from minirun.storage.volumes import records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from minirun.model.layout import Layout

_TRUE, _FALSE = ("1", "true"), ("0", "false")


def listed(layout: Layout, filters: Iterable[str]) -> list[Volume]:
    """Return the volumes for which all filters hold, sorted by name. Raises MinirunError for a filter that is unknown.

    One of the values must hold of each `name`, `driver` and `dangling`, all of those of `label`.
    """
    wanted: dict[str, list[str]] = {}
    for text in filters:
        key, _, value = text.partition("=")
        wanted.setdefault(_checked(key.lower(), value), []).append(value)
    volumes = [_any_record(layout, name) for name in records.names(layout) if records.exists(layout, name)]
    containers = all_records(layout) if "dangling" in wanted else []

    def holds(volume: Volume, key: str, value: str) -> bool:
        if key == "dangling":
            return bool(users.among(containers, volume.name)) != (value in _TRUE)
        if key == "label":
            return has_label(volume.labels, value)
        return value == "local" if key == "driver" else re.search(value, volume.name) is not None

    return [
        volume
        for volume in volumes
        if all(
            (all if key == "label" else any)(holds(volume, key, value) for value in values)
            for key, values in wanted.items()
        )
    ]


def _checked(key: str, value: str) -> str:
    if key not in ("dangling", "driver", "label", "name"):
        raise MinirunError(f"Invalid filter '{key}'", "Use dangling, driver, label or name.")
    if key == "dangling" and value not in (*_TRUE, *_FALSE):
        raise MinirunError(f"Invalid filter 'dangling=[{value}]'", "It is true or false.")
    if key == "name":
        try:
            re.compile(value)
        except re.error as error:
            raise MinirunError(f"Invalid filter 'name={value}': {error}", "It is a regular expression.") from error
    return key


def _any_record(layout: Layout, name: str) -> Volume:
    """Return the record of a volume; of one with a damaged record, warn, and return its name alone."""
    try:
        return records.load(layout, name)
    except DamagedError as damage:
        warn_once(f"{damage.message}. {damage.hint}")
        return Volume(name)


def document(layout: Layout, volume: Volume) -> dict[str, Any]:
    """Return what `docker volume inspect` prints."""
    return {
        "CreatedAt": rfc3339(int(volume.created_at)),
        "Driver": "local",
        "Labels": dict(sorted(volume.labels.items())) or None,
        "Mountpoint": records.data_directory(layout, volume.name),
        "Name": volume.name,
        "Options": dict(sorted(volume.options.items())) or None,
        "Scope": "local",
    }
