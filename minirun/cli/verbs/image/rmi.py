"""`tag`, `rmi` and `image prune`: names, and images that are no longer wanted."""

from __future__ import annotations

from minirun.cli.confirm import confirmed
from minirun.cli.grammar import Verb, many, switch
from minirun.cli.output.words import decimal_size
from minirun.cli.streams import say
from minirun.engine.image import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call
    from minirun.engine.image.images import Removal


def tag(call: Call) -> None:
    """Let the name TARGET mean the image that SOURCE means."""
    source, target = call.arguments
    images.tag(call.swept_layout(), source, target)


def rmi(call: Call) -> int:
    """Remove names, and images with their last one. Layers that other images share stay."""
    layout = call.swept_layout()
    force = call.switch("force")
    return call.for_each(lambda reference: print_removal(images.remove(layout, reference, force=force)))


def prune(call: Call) -> None:
    """Remove images without a name, or with -a all that no container uses."""
    layout = call.swept_layout()
    everything = call.switch("all")
    if not call.switch("force"):
        what = "images without at least one container associated to them" if everything else "dangling images"
        say(f"WARNING! This will remove all {what}.")
        if not confirmed("Are you sure you want to continue?"):
            return
    removals, freed = images.prune(layout, everything=everything, filters=call.many("filter"))
    if removals:
        say("Deleted Images:")
        for removal in removals:
            print_removal(removal, "untagged", "deleted")
        say("")
    say(f"Total reclaimed space: {decimal_size(freed, 4)}")


def print_removal(removal: Removal, untagged: str = "Untagged", deleted: str = "Deleted") -> None:
    """Print the names and the ids that are gone."""
    for name in removal.untagged:
        say(f"{untagged}: {name}")
    for digest in removal.deleted:
        say(f"{deleted}: {digest}")


VERBS = {
    "tag": Verb(tag, (), "SOURCE[:TAG] TARGET[:TAG]", summary="Give an image another name"),
    "rmi": Verb(
        rmi,
        (
            switch("-f/--force", "Also when it has several names or a stopped container uses it."),
            switch("--no-prune", "Accepted for Docker's sake: there are no untagged parents here."),
        ),
        "IMAGE...",
        summary="Remove images",
    ),
    "image prune": Verb(
        prune,
        (
            switch("-a/--all", "Not only those without a name."),
            switch("-f/--force", "Do not ask."),
            many("--filter", "label=..., label!=..., until=..."),
        ),
        summary="Remove images that are not used",
    ),
}
