"""A container's place in the default network, as its user sees it: what is published, and who is in the way by name."""

from __future__ import annotations

from minirun.engine.container import records
from minirun.errors import MinirunError, warn
from minirun.network import endpoints, ports
from minirun.storage import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.container import ContainerRecord
    from minirun.model.layout import Layout
    from minirun.model.network import PortMapping
    from minirun.network.endpoints import Prepared


def prepare(layout: Layout, record: ContainerRecord) -> Prepared:
    """Take an address and the host's ports for a container. Raises MinirunError, with nothing left."""
    try:
        return endpoints.prepare(layout, record.id, _published(layout, record))
    except ports.PortTakenError as error:
        if not error.container_id:
            raise
        holder = _name_of(layout, error.container_id)
        raise MinirunError(
            error.message,
            f"The container {holder} publishes it. Choose another host port, or free it: 'minirun rm -f {holder}'.",
        ) from None


def look_after(layout: Layout, record: ContainerRecord) -> None:
    """Mend what others have broken of a running container's network; what cannot be mended is a warning."""
    if record.request.network in ("none", "host"):
        return
    try:
        endpoints.look_after(layout)
    except MinirunError as error:
        warn(f"the container's network is broken: {error.message}")


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
