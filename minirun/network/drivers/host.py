"""--network host: the container has the host's network namespace, and there is nothing to make or to mend."""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.network.driver import Driver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection


class Host(Driver):
    """The network of the host."""

    shares_host = True

    def validate(self, flags: Collection[str]) -> None:
        """Check the flags of `run` about networks. Raises MinirunError."""
        super().validate(flags)
        if "mac_address" in flags:
            raise MinirunError("conflicting options: mac-address and the network mode")
