"""--network none: a network namespace of its own, with nothing in it but the loopback interface."""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.network.driver import Driver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection


class Nothing(Driver):
    """No network."""

    def validate(self, flags: Collection[str]) -> None:
        """Check the flags of `run` about networks. Raises MinirunError."""
        super().validate(flags)
        if "mac_address" in flags:
            raise MinirunError("conflicting options: mac-address and the network mode")
