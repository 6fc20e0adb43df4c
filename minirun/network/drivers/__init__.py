"""The kinds of networks, by the names that --network takes."""

from __future__ import annotations

from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.network.driver import Driver

DEFAULT = "bridge"


def find(mode: str) -> Driver:
    """Return the driver of what --network says: "bridge" or "default", "none", "host", "container:NAME".

    Raises MinirunError.
    """
    kind, colon, container = mode.partition(":")
    if mode in (DEFAULT, "default"):
        from minirun.network.drivers.bridge import Bridge

        return Bridge()
    if mode == "none":
        from minirun.network.drivers.none import Nothing

        return Nothing()
    if mode == "host":
        from minirun.network.drivers.host import Host

        return Host()
    if kind == "container" and colon:
        from minirun.network.drivers.container import Container

        return Container(container)
    raise MinirunError(f"network {mode} not found", "Use bridge, none, host or container:NAME.")
