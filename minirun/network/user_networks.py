"""The networks that users have made: their records, root/networks/NAME.json, each replaced as a whole.

A record says what there is to be. What there is of it now, a bridge and rules, is in the `account`.
"""

from __future__ import annotations

import os

from minirun.errors import DamagedError, MinirunError, warn_once
from minirun.kernel.hostfiles import make_private, read_record, remove, replace
from minirun.model import jsontext
from minirun.model.network import NetworkRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.layout import Layout

_SUFFIX = ".json"


def save(layout: Layout, record: NetworkRecord) -> None:
    """Write a network's record. Raises OSError."""
    make_private(layout.networks)
    replace(_path(layout, record.network.name), jsontext.dumps(record.as_dict()), durable=True)


def forget(layout: Layout, name: str) -> None:
    """Remove a network's record."""
    remove(_path(layout, name))


def load(layout: Layout, name: str) -> NetworkRecord | None:
    """Return a network by its whole name, None when there is none. Raises DamagedError."""
    path = _path(layout, name)
    try:
        record = read_record(path, NetworkRecord)
    except FileNotFoundError:
        return None
    if record.network.name != name:
        raise DamagedError(path, "it is that of another network", "Remove the file and make the network again.")
    return record


def records(layout: Layout) -> list[NetworkRecord]:
    """Return all networks by their names. A damaged record is a warning."""
    found = []
    for name in _names(layout):
        try:
            record = load(layout, name)
        except DamagedError as damage:
            warn_once(f"{damage.message}. {damage.hint}".strip())
            continue
        if record is not None:
            found.append(record)
    return found


def find(layout: Layout, name: str) -> NetworkRecord:
    """Return a network by its name, its id or the beginning of its id. Raises MinirunError."""
    names = _names(layout)
    record = load(layout, name) if name in names else None
    if record is not None:
        return record
    matches = [each for each in records(layout) if name and each.id.startswith(name)]
    if len(matches) > 1 and len({each.id for each in matches}) > 1:
        raise MinirunError(f"network {name} is ambiguous ({len(matches)} matches found based on ID prefix)")
    if not matches:
        raise MinirunError(f"network {name} not found", "'minirun network ls' lists the networks.")
    return matches[0]


def _path(layout: Layout, name: str) -> str:
    return f"{layout.networks}/{name}{_SUFFIX}"


def _names(layout: Layout) -> list[str]:
    try:
        return sorted(name.removesuffix(_SUFFIX) for name in os.listdir(layout.networks) if name.endswith(_SUFFIX))
    except FileNotFoundError:
        return []
