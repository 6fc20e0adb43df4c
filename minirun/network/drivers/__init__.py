"""The kinds of networks, by the names that --network takes."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.network.driver import Driver

DEFAULT = "bridge"
PREDEFINED = ("bridge", "host", "none")


def find(mode: str) -> Driver:
    """Return the driver of what --network says: "bridge" or "default", "none", "host", "container:NAME", or the name of
    a network of the user's, whether there is such a network or not.

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
    from minirun.network.drivers.user_defined import UserDefined

    return UserDefined(mode)
