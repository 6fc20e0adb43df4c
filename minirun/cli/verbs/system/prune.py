"""`system prune`, `container prune`, `image prune`, `volume prune`: what is not used goes."""

from __future__ import annotations

from minirun.cli.grammar import Verb, many, switch
from minirun.cli.output.prune import agreed, tell_removed, tell_space
from minirun.cli.streams import say
from minirun.cli.verbs.image.rmi import print_removal
from minirun.engine.prune_filters import PruneFilters
from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call
    from minirun.engine.image.images import Removal


def container_prune(call: Call) -> None:
    """Remove all containers that do not run."""
    from minirun.engine import prune

    layout = call.swept_layout()
    filters = PruneFilters.parse(call.many("filter"))
    if not agreed(call, "WARNING! This will remove all stopped containers."):
        return
    removed, freed = prune.prune_containers(layout, filters)
    tell_removed("Deleted Containers:", removed)
    tell_space(freed)


def image_prune(call: Call) -> None:
    """Remove images without a name, or with -a all that no container uses."""
    from minirun.engine.image import images

    layout = call.swept_layout()
    everything = call.switch("all")
    what = "images without at least one container associated to them" if everything else "dangling images"
    if not agreed(call, f"WARNING! This will remove all {what}."):
        return
    removals, freed = images.prune(layout, PruneFilters.parse(call.many("filter")), everything=everything)
    _tell_images(removals)
    tell_space(freed)


def volume_prune(call: Call) -> None:
    """Remove volumes that no container has: those without a name, or with -a all."""
    from minirun.engine.volume import removing

    layout = call.swept_layout()
    everything = call.switch("all")
    filters = PruneFilters.parse(call.many("filter"))
    if filters.ask_for_time:
        raise MinirunError('the "until" filter is not supported for volumes', "A volume has no age.", exit_code=1)
    what = "all local volumes" if everything else "anonymous local volumes"
    if not agreed(call, f"WARNING! This will remove {what} not used by at least one container."):
        return
    removed, freed = removing.prune(layout, lambda volume: filters.allow(volume.labels, 0.0), named=everything)
    tell_removed("Deleted Volumes:", removed)
    tell_space(freed)


def system_prune(call: Call) -> None:
    """Remove what nothing uses: containers that do not run, networks, images and, with --volumes, volumes without a
    name.

    Of images those without a name, or with -a all that no container uses.
    """
    from minirun.engine import prune
    from minirun.engine.image import images
    from minirun.engine.network import networks
    from minirun.engine.volume import removing

    everything, with_volumes = call.switch("all"), call.switch("volumes")
    filters = PruneFilters.parse(call.many("filter"))
    if with_volumes and filters.ask_for_time:
        raise MinirunError('the "until" filter is not supported with "--volumes"', "A volume has no age.", exit_code=1)
    layout = call.swept_layout()
    if not agreed(call, _warning(everything, with_volumes, call.many("filter"))):
        return
    containers, freed = prune.prune_containers(layout, filters)
    tell_removed("Deleted Containers:", containers)
    tell_removed("Deleted Networks:", networks.prune(layout, filters))
    if with_volumes:
        removed, more = removing.prune(layout, lambda volume: filters.allow(volume.labels, 0.0), named=False)
        tell_removed("Deleted Volumes:", removed)
        freed += more
    removals, more = images.prune(layout, filters, everything=everything)
    _tell_images(removals)
    freed += more
    steps, more = prune.prune_build_cache(layout, filters, everything=everything)
    tell_removed("Deleted build cache objects:", steps)
    tell_space(freed + more)


def _warning(everything: bool, with_volumes: bool, filters: tuple[str, ...]) -> str:
    items = ["all stopped containers", "all networks not used by at least one container"]
    if with_volumes:
        items.append("all anonymous volumes not used by at least one container")
    items.append(
        "all images without at least one container associated to them" if everything else "all dangling images"
    )
    items.append("all build cache" if everything else "all dangling build cache")
    lines = ["WARNING! This will remove:", *(f"  - {item}" for item in items)]
    if filters:
        lines += ["", "  Items to be pruned will be filtered with:", *(f"  - {text}" for text in filters)]
    return "\n".join((*lines, ""))


def _tell_images(removals: list[Removal]) -> None:
    if removals:
        say("Deleted Images:")
        for removal in removals:
            print_removal(removal, "untagged", "deleted")
        say("")


_FORCE = switch("-f/--force", "Do not ask.")
_FILTER = many("--filter", "label=..., label!=..., until=...")
VERBS = {
    "container prune": Verb(container_prune, (_FORCE, _FILTER), summary="Remove containers that do not run"),
    "image prune": Verb(
        image_prune,
        (switch("-a/--all", "Not only those without a name."), _FORCE, _FILTER),
        summary="Remove images that are not used",
    ),
    "volume prune": Verb(
        volume_prune,
        (
            switch("-a/--all", "Not only those without a name."),
            _FORCE,
            many("--filter", "label=..., label!=..."),
        ),
        summary="Remove volumes that no container has",
    ),
    "system prune": Verb(
        system_prune,
        (
            switch("-a/--all", "All images that no container uses, not only those without a name."),
            _FORCE,
            _FILTER,
            switch("--volumes", "Volumes without a name, too."),
        ),
        summary="Remove what is not used",
    ),
}
