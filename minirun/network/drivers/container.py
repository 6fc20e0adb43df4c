"""--network container:NAME: the container has another's network namespace, and whatever network that has."""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.network.driver import Driver
from minirun.network.drivers.bridge import Bridge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from minirun.model.layout import Layout

# Settings that the other container has already, by the flags that would change them.
_THE_OTHERS = {
    "dns": "dns",
    "add_host": "custom host-to-IP mapping",
    "publish": "port publishing",
    "publish_all": "port publishing",
    "expose": "port exposing",
    "hostname": "hostname",
    "mac_address": "mac-address",
}


class Container(Driver):
    """The network of another container."""

    def __init__(self, container: str) -> None:
        if not container:
            raise MinirunError("invalid container format container:<name|id>")
        self.container = container

    def validate(self, flags: Collection[str]) -> None:
        """Check the flags of `run` about networks: those that are the other container's business are refused."""
        super().validate(flags)
        for flag, what in _THE_OTHERS.items():
            if flag in flags:
                mode = "the network mode" if flag in ("hostname", "mac_address") else "the container type network mode"
                raise MinirunError(f"conflicting options: {what} and {mode}")

    def look_after(self, layout: Layout) -> None:
        """Mend the bridge, where the other container may be. Raises MinirunError."""
        Bridge().look_after(layout)
