"""`pull`: images from registries."""

from __future__ import annotations

import sys

from minirun.cli.grammar import Verb, switch, text
from minirun.cli.help import advice
from minirun.cli.output.pull_progress import progress_on
from minirun.cli.streams import say
from minirun.engine.image import pulling
from minirun.errors import MinirunError, MissingImageError, tell
from minirun.model.image import ImageRef

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from minirun.cli.call import Call
    from minirun.engine.image.pulling import Arrived
    from minirun.model.layout import Layout


def pull(call: Call) -> None:
    """Pull an image from a registry; a name without a registry is one of docker.io.

    The files of /etc/containers and /etc/docker say where registries are and whom to trust; 'minirun login' gives
    credentials. What is interrupted leaves nothing behind.
    """
    layout = call.host_layout()
    (reference,) = call.arguments
    quiet = call.switch("quiet")
    if call.switch("all-tags"):
        _pull_all(layout, reference, call.text("platform"), quiet=quiet)
    else:
        if not quiet and "@" not in reference and ":" not in reference.rpartition("/")[2]:
            say("Using default tag: latest")
        say(str(_pull_one(layout, reference, call.text("platform"), sys.stdout, quiet=quiet).name))


def _pull_one(layout: Layout, reference: str, platform: str, stream: TextIO, *, quiet: bool) -> Arrived:
    """Pull an image and tell of it as Docker does, unless `quiet`. Raises MinirunError."""
    progress = progress_on(stream, quiet=quiet)
    try:
        arrived = pulling.pull(layout, reference, platform, progress)
    finally:
        progress.finish()
    if not quiet:
        print(f"Digest: {arrived.pulled.digest}", file=stream)
        print(f"Status: {_status(arrived.pulled.fresh)} for {arrived.name.familiar}", file=stream, flush=True)
    return arrived


def for_container(layout: Layout, image: str, platform: str, missing: MissingImageError | None, *, quiet: bool) -> str:
    """Pull the image of a container and return its name, telling of it on standard error, for standard output is the
    container's.

    `missing` is why that is necessary, None if it is done in any case. Raises MinirunError (125).
    """
    is_there = missing is not None and not missing.message.startswith("Unable")
    if missing and not is_there:
        here = pulling.name_here(layout, image, platform)
        if here:
            return here
        tell(missing.message)
    try:
        arrived = _pull_one(layout, image, platform, sys.stderr, quiet=quiet)
    except MinirunError as error:
        if missing and is_there:  # for another platform, and no registry has it for this one
            raise MinirunError(missing.message, f"A pull does not help: {error.message}.") from error
        # Whatever `pull` exits with, this is 125; and a name may have been mistyped.
        failed = MinirunError(error.message, error.hint)
        raise advice.for_missing_image(failed, layout, image) from error
    return image if ImageRef.parse(image) == arrived.name else str(arrived.name)


def _pull_all(layout: Layout, reference: str, platform: str, *, quiet: bool) -> None:
    fresh = False
    name = None
    progress = progress_on(sys.stdout, quiet=quiet)
    try:
        for arrived in pulling.pull_all(layout, reference, platform, progress):
            progress.finish()
            name, fresh = arrived.name, fresh or arrived.pulled.fresh
            if not quiet:
                say(f"Digest: {arrived.pulled.digest}")
    finally:
        progress.finish()
    if name:
        if not quiet:
            say(f"Status: {_status(fresh)} for {name.familiar_name}")
        say(name.name)


def _status(fresh: bool) -> str:
    return "Downloaded newer image" if fresh else "Image is up to date"


VERBS = {
    "pull": Verb(
        pull,
        (
            switch("-a/--all-tags", "Pull all tags of the repository."),
            switch("-q/--quiet", "Print only the name of the image."),
            text("--platform", "Platform of the image (default the host's)."),
        ),
        "NAME[:TAG|@DIGEST]",
        summary="Pull an image from a registry",
        examples=(("minirun pull nginx", "nginx:latest of docker.io"),),
    ),
}
