"""What `network inspect` and `network ls` say about a network."""

from __future__ import annotations

from minirun.engine.container import records
from minirun.engine.container.inspect import rfc3339
from minirun.engine.network.identity import endpoint_id, predefined_network
from minirun.engine.network.networks import endpoints
from minirun.errors import MinirunError
from minirun.model.network import NetworkRecord
from minirun.network import account, drivers, user_networks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minirun.model.layout import Layout

_DRIVERS = {"bridge": "bridge", "host": "host", "none": "null"}


def driver_of(record: NetworkRecord) -> str:
    """Return a network's driver, by Docker's name."""
    return _DRIVERS.get(record.network.name, "bridge")


def all_networks(layout: Layout) -> list[NetworkRecord]:
    """Return all networks by their names, the predefined ones, too."""
    predefined = [predefined_network(layout, name) for name in drivers.PREDEFINED]
    return sorted([*predefined, *user_networks.records(layout)], key=lambda record: record.network.name)


def network_document(layout: Layout, record: NetworkRecord) -> dict[str, Any]:
    """Return Docker's "NetworkResource" for a network."""
    is_users = record.network.name not in drivers.PREDEFINED
    options = record.options
    if record.network.name == account.DEFAULT:
        options = {
            "com.docker.network.bridge.default_bridge": "true",
            "com.docker.network.bridge.enable_icc": "true",
            "com.docker.network.bridge.enable_ip_masquerade": "true",
            "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
            "com.docker.network.bridge.name": account.BRIDGE,
            "com.docker.network.driver.mtu": "1500",
        }
    return {
        "Name": record.network.name,
        "Id": record.id,
        "Created": rfc3339(record.created_at),
        "Scope": "local",
        "Driver": driver_of(record),
        "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Options": {} if is_users else None, "Config": _pools(record)},
        "Internal": record.network.internal,
        "Attachable": record.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": _containers(layout, record),
        "Options": options,
        "Labels": record.labels,
    }


def _pools(record: NetworkRecord) -> list[dict[str, Any]]:
    network = record.network
    if not network.subnet:
        return []
    pool: dict[str, Any] = {"Subnet": network.subnet}
    if network.ip_range:
        pool["IPRange"] = network.ip_range
    if record.gateway_given:
        pool["Gateway"] = network.gateway
    if record.aux_addresses:
        pool["AuxiliaryAddresses"] = record.aux_addresses
    return [pool]


def _containers(layout: Layout, record: NetworkRecord) -> dict[str, Any]:
    if not record.network.subnet:
        return {}
    found = {}
    for container_id in sorted(endpoints(layout, record.network)):
        try:
            container = records.load(layout, container_id)
        except MinirunError:
            continue  # it is just being removed
        if container.endpoint is None or container.endpoint.network != record.network.name:
            continue
        found[container_id] = {
            "Name": container.name,
            "EndpointID": endpoint_id(container),
            "MacAddress": container.endpoint.mac,
            "IPv4Address": f"{container.endpoint.address}/{container.endpoint.prefix_length}",
            "IPv6Address": "",
        }
    return found
