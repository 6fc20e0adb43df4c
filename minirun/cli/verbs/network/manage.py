"""`network create`, `network rm`, `network prune`."""

from __future__ import annotations

from minirun.cli.grammar import Verb, many, switch, text
from minirun.cli.output.prune import agreed, tell_removed
from minirun.cli.streams import say
from minirun.engine.prune_filters import PruneFilters
from minirun.errors import MinirunError, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call


def create(call: Call) -> None:
    """Make a network, and print its id."""
    from minirun.engine.network import networks, wanted

    options = {flag.key.replace("-", "_"): call.values.get(flag.key, flag.default) for flag in _CREATE_FLAGS}
    try:
        asked = wanted.from_options(call.arguments[0], options)
        record = networks.create(call.host_layout(), asked)
    except MinirunError as error:
        error.exit_code = 1
        raise
    say(record.id)


def rm(call: Call) -> int:
    """Remove networks that no running container is in."""
    from minirun.engine.network import networks

    layout = call.swept_layout()

    def remove(name: str) -> None:
        try:
            networks.remove(layout, name)
        except MinirunError as error:
            if call.switch("force") and error.message.endswith("not found"):
                tell(f"minirun: {error.message}")
                return
            raise
        say(name)

    return call.for_each(remove)


def prune(call: Call) -> None:
    """Remove all networks that no running container is in."""
    from minirun.engine.network import networks

    filters = PruneFilters.parse(call.many("filter"))
    layout = call.swept_layout()
    if not agreed(call, "WARNING! This will remove all custom networks not used by at least one container."):
        return
    tell_removed("Deleted Networks:", networks.prune(layout, filters))


_CREATE_FLAGS = (
    text("-d/--driver", "bridge, the one there is.", default="bridge"),
    many("--subnet", "Addresses, such as 10.99.0.0/24; without it free ones are chosen."),
    many("--gateway", "The bridge's own address (default the subnet's first)."),
    many("--ip-range", "The part of the subnet that containers get addresses of."),
    many("--aux-address", "NAME=ADDRESS that no container gets."),
    switch("--internal", "No way out, and none in."),
    switch("--attachable", "Accepted: every network is."),
    switch("--ipv6"),
    many("-o/--opt", "com.docker.network.bridge.name=..., com.docker.network.driver.mtu=..., and others of Docker's."),
    many("--label", "Keep a word with the network."),
)
VERBS = {
    "create": Verb(
        create,
        _CREATE_FLAGS,
        "NETWORK",
        summary="Make a network",
        examples=(
            ("minirun network create back", "a network with a bridge and addresses of its own"),
            ("minirun network create --subnet 10.99.0.0/24 back", "with addresses of the user's choice"),
        ),
    ),
    "rm": Verb(rm, (switch("-f/--force", "A missing one is no failure."),), "NETWORK...", summary="Remove networks"),
    "prune": Verb(
        prune,
        (switch("-f/--force", "Do not ask."), many("--filter", "label=..., label!=..., until=...")),
        summary="Remove networks that nothing uses",
    ),
}
