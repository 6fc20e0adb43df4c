"""Networks of the user's: made, listed, removed. What is on the host of them is the driver's business."""

from __future__ import annotations

import os
import time

from minirun.engine.container import bundle_lock
from minirun.errors import MinirunError
from minirun.kernel import hostfiles
from minirun.model.network import NetworkRecord
from minirun.network import account, client, drivers, ipam, user_networks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.engine.network.wanted import Wanted
    from minirun.engine.prune_filters import PruneFilters
    from minirun.model.layout import Layout
    from minirun.model.network import Network


def create(layout: Layout, wanted: Wanted) -> NetworkRecord:
    """Make a network: a record, and a subnet that nothing else has. Its bridge comes with its first container.

    Raises MinirunError.
    """
    with account.choosing(layout):
        present = user_networks.records(layout)
        if user_networks.load(layout, wanted.name):
            raise MinirunError(f"network with name {wanted.name} already exists", "Choose another name.")
        network_id = os.urandom(32).hex()
        subnet = wanted.subnet or ipam.choose_user_subnet(account.taken_subnets(layout) + _default_subnets(layout))
        network = wanted.network(network_id, subnet)
        _check_subnet(layout, network, present)
        _check_bridge(wanted, network_id, present)
        record = NetworkRecord(
            network_id,
            time.time(),
            network,
            configured=wanted.subnet != "",
            gateway_given=wanted.gateway != "" or not wanted.subnet,
            attachable=wanted.attachable,
            aux_addresses=wanted.aux_addresses,
            labels=wanted.labels,
            options=wanted.options,
        )
        user_networks.save(layout, record)
    return record


def _default_subnets(layout: Layout) -> list[tuple[int, int]]:
    default = account.recorded_network(layout)
    return [ipam.parse_subnet(default.subnet)] if default else []


def _check_subnet(layout: Layout, network: Network, present: list[NetworkRecord]) -> None:
    others = [ipam.parse_subnet(each.network.subnet) for each in present] + _default_subnets(layout)
    if any(ipam.overlap(ipam.parse_subnet(network.subnet), other) for other in others):
        raise MinirunError("Pool overlaps with other one on this address space", "Another network has such addresses.")
    if account.is_routed_elsewhere(network):
        raise MinirunError(
            f"cannot create the network {network.name}: the host has a route to {network.subnet} already",
            "Choose another subnet, or leave --subnet out.",
        )


def _check_bridge(wanted: Wanted, network_id: str, present: list[NetworkRecord]) -> None:
    if not wanted.bridge:
        return
    for other in present:
        if other.network.bridge == wanted.bridge:
            raise MinirunError(
                f"cannot create network {network_id} ({wanted.bridge}): conflicts with network {other.id} "
                f"({wanted.bridge}): networks have same bridge name",
                "Choose another name of the bridge.",
            )
    if os.path.exists(f"/sys/class/net/{wanted.bridge}") or wanted.bridge == account.BRIDGE:
        raise MinirunError(
            f"cannot create network {wanted.name}: the host has an interface {wanted.bridge}",
            "Choose another name of the bridge: minirun makes its own.",
        )


def endpoints(layout: Layout, network: Network) -> dict[str, str]:
    """Return who is in a network now: container id to address."""
    return {
        holder: address
        for address, holder in account.leases(layout).items()
        if ipam.is_within(address, network.subnet) and bundle_lock.is_held(layout, holder)
    }


def remove(layout: Layout, name: str) -> None:
    """Remove a network that no running container is in. Raises MinirunError."""
    if name in drivers.PREDEFINED:
        raise MinirunError(f"{name} is a pre-defined network and cannot be removed", "Other networks can be removed.")
    with account.choosing(layout):
        record = user_networks.find(layout, name)
        # Who has an address, or gets one, finds the record; who comes later does not find the network.
        with ipam.turn(account.leases_directory(layout), record.network):
            if endpoints(layout, record.network):
                raise MinirunError(
                    f"error while removing network: network {record.network.name} id {record.id} has active endpoints",
                    f"See who is in it: 'minirun network inspect {record.network.name}'.",
                )
            if account.active_network(layout, record.network.name):
                client.ask(layout, {"do": "remove", "network": record.network.name})
            user_networks.forget(layout, record.network.name)
    hostfiles.remove(f"{account.leases_directory(layout)}.{record.network.name}.next")


def prune(layout: Layout, filters: PruneFilters) -> list[str]:
    """Remove the networks that no running container is in; return their names."""
    removed = []
    for record in user_networks.records(layout):
        if filters.allow(record.labels, record.created_at) and not endpoints(layout, record.network):
            try:
                remove(layout, record.network.name)
            except MinirunError:
                continue  # a container has come just now
            removed.append(record.network.name)
    return removed
