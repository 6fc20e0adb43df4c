"""What `ps` shows of containers: rows, and the filters that choose them."""

from __future__ import annotations

import time

from minirun.cli.output.words import decimal_size, duration, local_time
from minirun.errors import MinirunError
from minirun.model import jsontext
from minirun.model.network import consecutive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from minirun.engine.container.status import Status
    from minirun.model.container import ContainerRecord
    from minirun.model.layout import Layout
    from minirun.model.network import PortMapping

TABLE = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}"
TABLE_WITH_SIZE = f"{TABLE}\t{{{{.Size}}}}"
HEADERS: dict[str, object] = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED",
    "Ports": "PORTS",
    "State": "STATE",
    "Status": "STATUS",
    "Size": "SIZE",
    "Names": "NAMES",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Networks": "NETWORKS",
    "Label": lambda name: name.rpartition(".")[2].replace("-", " ").replace("_", " "),
}
_LONGEST_COMMAND = 20
_LONGEST_MOUNT = 15
_STATES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")


class Filters:
    """The conditions of `--filter`: one of the values of each name must hold, all of those of `label`."""

    def __init__(self, layout: Layout, wanted: dict[str, list[str]]) -> None:
        self._layout = layout
        self._wanted = wanted

    @classmethod
    def parse(cls, layout: Layout, texts: Sequence[str]) -> Filters:
        """Read NAME=VALUE texts. Raises MinirunError for one that is unknown."""
        wanted: dict[str, list[str]] = {}
        for text in texts:
            name, equals, value = text.partition("=")
            if not equals:
                raise MinirunError(f"invalid filter '{text}'", "Write NAME=VALUE.")
            if name.lower() not in _TESTS:
                raise MinirunError(f"invalid filter '{name}'", f"Use {', '.join(_TESTS)}.")
            if name.lower() == "status" and value not in _STATES:
                raise MinirunError(f"invalid filter 'status={value}'", f"Use {', '.join(_STATES)}.")
            wanted.setdefault(name.lower(), []).append(value)
        return cls(layout, wanted)

    @property
    def asks_for_state(self) -> bool:
        """Say whether containers that do not run are asked for, too."""
        return bool(self._wanted.keys() & {"status", "exited"})

    def match(self, record: ContainerRecord, status: Status) -> bool:
        """Say whether a container is to be shown."""
        for name, values in self._wanted.items():
            quantifier = all if name == "label" else any
            if not quantifier(_TESTS[name](self._layout, record, status, value) for value in values):
                return False
        return True


def _is_label(_layout: Layout, record: ContainerRecord, _status: Status, value: str) -> bool:
    name, equals, wanted = value.partition("=")
    labels = record.request.labels
    return name in labels and (not equals or labels[name] == wanted)


def _is_ancestor(layout: Layout, record: ContainerRecord, _status: Status, value: str) -> bool:
    from minirun.storage import images

    try:
        return record.image_id == images.find_id(layout, value)
    except MinirunError:
        return record.image == value


def _has_exit_code(_layout: Layout, _record: ContainerRecord, status: Status, value: str) -> bool:
    return status.exit is not None and str(status.exit.code) == value


def _is_name(_layout: Layout, record: ContainerRecord, _status: Status, value: str) -> bool:
    import re

    try:
        return re.search(value, record.name) is not None or re.search(value, f"/{record.name}") is not None
    except re.error as error:
        raise MinirunError(f"invalid filter 'name={value}': {error}") from error


def _is_before(layout: Layout, record: ContainerRecord, _status: Status, value: str) -> bool:
    from minirun.engine.container.records import find

    return record.created_at < find(layout, value).created_at


def _is_since(layout: Layout, record: ContainerRecord, _status: Status, value: str) -> bool:
    from minirun.engine.container.records import find

    return record.created_at > find(layout, value).created_at


def _is_in_network(layout: Layout, record: ContainerRecord, value: str) -> bool:
    name = record.endpoint.network if record.endpoint else record.request.network.partition(":")[0]
    if name == value:
        return True
    from minirun.engine.network.identity import find
    from minirun.errors import MinirunError

    try:
        return find(layout, value).network.name == name
    except MinirunError:
        return False


_TESTS: dict[str, Callable[[Layout, ContainerRecord, Status, str], bool]] = {
    "id": lambda _layout, record, _status, value: record.id.startswith(value),
    "name": _is_name,
    "label": _is_label,
    "status": lambda _layout, _record, status, value: status.state == value,
    "exited": _has_exit_code,
    "ancestor": _is_ancestor,
    "before": _is_before,
    "since": _is_since,
    "network": lambda layout, record, _status, value: _is_in_network(layout, record, value),
    "volume": lambda _layout, record, _status, value: any(
        value in (mount.source, mount.target) for mount in record.request.mounts if mount.flag != "--tmpfs"
    ),
}


def containers(layout: Layout) -> list[tuple[ContainerRecord, Status]]:
    """Return every container with its state, newest first."""
    from minirun.engine.container.records import all_records
    from minirun.engine.container.status import status

    return [(record, status(layout, record)) for record in all_records(layout)]


def row(
    layout: Layout, record: ContainerRecord, status: Status, *, truncate: bool, size: bool = False
) -> dict[str, object]:
    """Return the fields that `ps --format` may use."""
    labels = record.request.labels
    mounts = [mount.source for mount in record.request.mounts if mount.flag != "--tmpfs"]
    command = " ".join(f"'{word}'" if " " in word else word for word in record.command)
    return {
        "ID": record.id[:12] if truncate else record.id,
        "Image": record.image,
        "Command": jsontext.quoted(_cut(command, _LONGEST_COMMAND) if truncate else command),
        "CreatedAt": local_time(record.created_at),
        "RunningFor": f"{duration(time.time() - record.created_at)} ago",
        "Ports": ports_text(layout, record, status),
        "State": status.state,
        "Status": status_text(record, status),
        "Size": _size(layout, record) if size else "",
        "Names": record.name,
        "Labels": ",".join(f"{name}={labels[name]}" for name in sorted(labels)),
        "Mounts": ",".join(_cut(mount, _LONGEST_MOUNT) if truncate else mount for mount in mounts),
        "LocalVolumes": str(sum(mount.kind == "volume" for mount in record.request.mounts)),
        "Networks": record.endpoint.network if record.endpoint else record.request.network.partition(":")[0],
        "Label": lambda name: labels.get(name, ""),
    }


def _size(layout: Layout, record: ContainerRecord) -> str:
    from minirun.engine.disk_usage import written

    return decimal_size(written(layout, record))


def status_text(record: ContainerRecord, status: Status) -> str:
    """Return "Up 2 minutes", "Exited (0) 3 seconds ago" or "Created"."""
    now = time.time()
    if status.is_running:
        paused = " (Paused)" if status.state == "paused" else ""
        return f"Up {duration(now - record.started_at)}{paused}"
    if status.exit:
        return f"Exited ({status.exit.code}) {duration(now - status.exit.finished_at)} ago"
    return status.state.capitalize()


def ports_text(layout: Layout, record: ContainerRecord, status: Status) -> str:
    """Return "0.0.0.0:8080->80/tcp, 443/tcp": what is published, ranges as such, and what is exposed only."""
    if not status.is_running or not record.endpoint:
        return ""
    published = record.endpoint.ports
    texts = [_range_text(first, last) for first, last in consecutive(published)]
    taken = {f"{port.container_port}/{port.protocol}" for port in published}
    exposed = dict.fromkeys((*image_config(layout, record).exposed_ports, *record.request.expose))
    return ", ".join([*texts, *(port for port in exposed if port not in taken)])


def _range_text(first: PortMapping, last: PortMapping) -> str:
    if first == last:
        return f"{address(first)}->{first.container_port}/{first.protocol}"
    inside = f"{first.container_port}-{last.container_port}/{first.protocol}"
    return f"{address(first)}-{last.host_port}->{inside}"


def address(port: PortMapping) -> str:
    """Return where a port is published: "0.0.0.0:8080"."""
    host = port.host_ip or "0.0.0.0"
    return f"[{host}]:{port.host_port}" if ":" in host else f"{host}:{port.host_port}"


def image_config(layout: Layout, record: ContainerRecord) -> Any:
    """Return the config of a container's image; an empty one if the image has been removed."""
    from minirun.model.image import ImageConfig
    from minirun.storage import images

    try:
        return images.load_image(layout, record.image_id).config
    except MinirunError:
        return ImageConfig()


def image_size(layout: Layout, record: ContainerRecord) -> int:
    """Return the bytes of a container's image; 0 if the image has been removed."""
    from minirun.storage import images

    try:
        return images.load_image(layout, record.image_id).size
    except MinirunError:
        return 0


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
