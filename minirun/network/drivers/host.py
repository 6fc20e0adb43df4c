"""--network host: the container has the host's network namespace, and there is nothing to make or to mend."""

from __future__ import annotations

from minirun.network.driver import Driver


class Host(Driver):
    """The network of the host."""

    shares_host = True
