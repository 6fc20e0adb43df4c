"""`push`: images to registries."""

from __future__ import annotations

import sys

from minirun.cli.grammar import Verb, switch, text
from minirun.cli.output.pull_progress import progress_on
from minirun.cli.streams import say
from minirun.engine.image import pushing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call


def push(call: Call) -> None:
    """Push an image to the registry that its name begins with; a name without one goes to docker.io.

    Only what the registry lacks is sent. The same image has the same digest at every registry.
    """
    layout = call.host_layout()
    (reference,) = call.arguments
    quiet, every_tag = call.switch("quiet"), call.switch("all-tags")
    if not quiet and not every_tag and "@" not in reference and ":" not in reference.rpartition("/")[2]:
        say("Using default tag: latest")
    names = pushing.names_to_push(layout, reference, every_tag=every_tag)
    if not quiet:
        say(f"The push refers to repository [{names[0][0].name}]")
    progress = progress_on(sys.stdout, quiet=quiet)
    try:
        for name, pushed in pushing.push(layout, names, call.text("compression"), progress):
            progress.finish()
            say(str(name) if quiet else f"{name.tag}: digest: {pushed.digest} size: {pushed.size}")
    finally:
        progress.finish()


VERBS = {
    "push": Verb(
        push,
        (
            switch("-a/--all-tags", "Push all tags of the repository."),
            text("--compression", "Compress all layers anew: gzip or zstd.", "", ("gzip", "zstd")),
            switch("-q/--quiet", "Print only the name of the image."),
        ),
        "NAME[:TAG]",
        summary="Push an image to a registry",
        examples=(("minirun push registry.example/class/web:1", "an image that was tagged with this name"),),
    )
}
