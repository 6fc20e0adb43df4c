"""`system prune` and `container prune`: what is not used goes. (`image prune` is in image/rmi.py.)"""

from __future__ import annotations

from minirun.cli.confirm import confirmed
from minirun.cli.grammar import Verb, many, switch
from minirun.cli.output.words import decimal_size
from minirun.cli.streams import say
from minirun.engine.prune_filters import PruneFilters
from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call


def container_prune(call: Call) -> None:
    """Remove all containers that do not run."""
    from minirun.engine import prune

    layout = call.swept_layout()
    filters = PruneFilters.parse(call.many("filter"))
    if not call.switch("force"):
        say("WARNING! This will remove all stopped containers.")
        if not confirmed("Are you sure you want to continue?"):
            return
    removed, freed = prune.prune_containers(layout, filters)
    _tell("Deleted Containers:", removed)
    say(f"Total reclaimed space: {decimal_size(freed, 4)}")


def system_prune(call: Call) -> None:
    """Remove containers that do not run, images that nothing uses and, with --volumes, volumes that no container has.

    Of images those without a name, or with -a all that no container uses.
    """
    from minirun.cli.verbs.image.rmi import print_removal
    from minirun.engine import prune
    from minirun.engine.image import images

    everything, with_volumes = call.switch("all"), call.switch("volumes")
    filters = PruneFilters.parse(call.many("filter"))
    if with_volumes and filters.ask_for_time:
        raise MinirunError('the "until" filter is not supported with "--volumes"', "A volume has no age.", exit_code=1)
    layout = call.swept_layout()
    if not call.switch("force"):
        say(_warning(everything, with_volumes, call.many("filter")))
        if not confirmed("Are you sure you want to continue?"):
            return
    containers, freed = prune.prune_containers(layout, filters)
    _tell("Deleted Containers:", containers)
    if with_volumes:
        removed, more = prune.prune_volumes(layout, filters)
        _tell("Deleted Volumes:", removed)
        freed += more
    removals, more = images.prune(layout, everything=everything, filters=call.many("filter"))
    if removals:
        say("Deleted Images:")
        for removal in removals:
            print_removal(removal, "untagged", "deleted")
        say("")
    say(f"Total reclaimed space: {decimal_size(freed + more, 4)}")


def _warning(everything: bool, with_volumes: bool, filters: tuple[str, ...]) -> str:
    items = ["all stopped containers"]
    if with_volumes:
        items.append("all volumes not used by at least one container")
    items.append(
        "all images without at least one container associated to them" if everything else "all dangling images"
    )
    lines = ["WARNING! This will remove:", *(f"  - {item}" for item in items)]
    if filters:
        lines += ["", "  Items to be pruned will be filtered with:", *(f"  - {text}" for text in filters)]
    return "\n".join((*lines, ""))


def _tell(title: str, names: list[str]) -> None:
    if names:
        say("\n".join((title, *names, "")))


_FORCE = switch("-f/--force", "Do not ask.")
_FILTER = many("--filter", "label=..., label!=..., until=...")
VERBS = {
    "container prune": Verb(container_prune, (_FORCE, _FILTER), summary="Remove containers that do not run"),
    "system prune": Verb(
        system_prune,
        (
            switch("-a/--all", "All images that no container uses, not only those without a name."),
            _FORCE,
            _FILTER,
            switch("--volumes", "Volumes, too."),
        ),
        summary="Remove what is not used",
    ),
}
