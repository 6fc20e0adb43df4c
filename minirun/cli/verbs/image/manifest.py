"""`manifest inspect`: what registries say of images."""

from __future__ import annotations

from minirun.cli.grammar import Verb, switch
from minirun.cli.output.documents import json_text
from minirun.cli.streams import say
from minirun.engine.image import manifests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call


def inspect(call: Call) -> None:
    """Print the manifest of an image, or its index for several platforms, as the registry has it."""
    (reference,) = call.arguments
    document = manifests.described(reference) if call.switch("verbose") else manifests.manifest(reference)
    say(json_text(document, indent="\t"))


VERBS = {
    "manifest inspect": Verb(
        inspect,
        (switch("-v/--verbose", "Also the manifests that an index leads to, with their platforms."),),
        "IMAGE",
        summary="Print a manifest as the registry has it",
    ),
}
