"""Which network a name or an id means, and the ids of what has no record of its own."""

from __future__ import annotations

from hashlib import sha256

from minirun.errors import MinirunError
from minirun.model.network import Network, NetworkRecord
from minirun.network import account, drivers, user_networks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.container import ContainerRecord
    from minirun.model.layout import Layout


def find(layout: Layout, name: str) -> NetworkRecord:
    """Return a network by its name, its id or the beginning of its id. Raises MinirunError."""
    if name in drivers.PREDEFINED:
        return predefined_network(layout, name)
    try:
        return user_networks.find(layout, name)
    except MinirunError:
        for each in drivers.PREDEFINED:
            record = predefined_network(layout, each)
            if len(name) > 2 and record.id.startswith(name):
                return record
        raise


def predefined_network(layout: Layout, name: str) -> NetworkRecord:
    """Return what stands for a predefined network. Its id is always the same in a store."""
    network = account.recorded_network(layout) if name == account.DEFAULT else None
    made = sha256(f"{layout.root} {name}".encode()).hexdigest()
    return NetworkRecord(made, 0.0, network or Network(name, account.BRIDGE, "", ""), gateway_given=True)


def endpoint_id(record: ContainerRecord) -> str:
    """Return what names a container's place in its network until it ends: 64 hexadecimal digits."""
    network = record.endpoint.network if record.endpoint else ""
    return sha256(f"{record.id} {network} {record.started_at}".encode()).hexdigest()
