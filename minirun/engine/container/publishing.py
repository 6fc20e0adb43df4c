"""A container's place in its network, as its user sees it: what is published, and the name of what is in the way."""

from __future__ import annotations

from minirun.engine.container import bundle_lock, records
from minirun.errors import MinirunError, warn
from minirun.network import drivers, ports, resolv_files
from minirun.storage import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.container import ContainerRecord
    from minirun.model.layout import Layout
    from minirun.model.network import EndpointSettings, Network, PortMapping
    from minirun.network.driver import Driver, Reserved


def reserve(layout: Layout, record: ContainerRecord, driver: Driver, network: Network | None) -> Reserved:
    """Take an address and the host's ports for a container. Raises MinirunError, with nothing left."""
    try:
        asked = record.request.endpoint
        if driver.has_names:
            asked = _with_names(record, asked)
        return driver.reserve(layout, network, record.id, _published(layout, record), asked)
    except ports.PortTakenError as error:
        if not error.container_id:
            raise
        holder = _name_of(layout, error.container_id)
        raise MinirunError(
            error.message,
            f"The container {holder} publishes it. Choose another host port, or free it: 'minirun rm -f {holder}'.",
        ) from None


def _with_names(record: ContainerRecord, asked: EndpointSettings) -> EndpointSettings:
    """Add the names by which others find the container, and the name servers that it asks for other names."""
    request = record.request
    names = dict.fromkeys(
        (record.name, *asked.aliases, record.id[:12], *([request.hostname] if request.hostname else []))
    )
    servers = request.dns or resolv_files.forwarding_servers(resolv_files.host_text("/etc/resolv.conf"))
    return asked.replace(aliases=tuple(names), servers=servers)


def look_after(layout: Layout, record: ContainerRecord) -> None:
    """Mend what others have broken of a running container's network; what cannot be mended is a warning."""
    driver = drivers.find(record.request.network)
    try:
        driver.look_after(layout)
    except MinirunError as error:
        warn(f"the container's network is broken: {error.message}")
    warn_of_cut_off(layout, driver)


def warn_of_cut_off(layout: Layout, driver: Driver) -> None:
    """Name the running containers that no mending connects again, and the way out."""
    names = sorted(_name_of(layout, each) for each in driver.cut_off(layout) if bundle_lock.is_held(layout, each))
    if names:
        warn(
            f"cut off from the network: {', '.join(names)}. Their bridge was deleted, and the host now has another "
            f"route to their addresses. 'minirun restart {' '.join(names)}' gives them new ones."
        )


def _published(layout: Layout, record: ContainerRecord) -> tuple[PortMapping, ...]:
    request = record.request
    if not request.publish_all:
        return request.ports
    exposed = images.load_image(layout, record.image_id).config.exposed_ports
    return ports.with_exposed(request.ports, (*exposed, *request.expose))


def _name_of(layout: Layout, container_id: str) -> str:
    try:
        return records.load(layout, container_id).name
    except MinirunError:
        return container_id[:12]  # it is just being removed
