"""--network none: a network namespace of its own, with nothing in it but the loopback interface."""

from __future__ import annotations

from minirun.network.driver import Driver


class Nothing(Driver):
    """No network."""
