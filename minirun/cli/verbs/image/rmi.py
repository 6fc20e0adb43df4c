"""`tag` and `rmi`: names, and images that are no longer wanted."""

from __future__ import annotations

from minirun.cli.grammar import Verb, switch
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
}
