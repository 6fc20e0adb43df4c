"""`volume inspect`."""

from __future__ import annotations

from minirun.cli.grammar import Verb, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call


def inspect(call: Call) -> int:
    """Print all that is known about volumes, as JSON."""
    from minirun.cli.output.documents import print_documents
    from minirun.engine.volume.listing import document
    from minirun.storage.volumes.records import load

    layout = call.swept_layout()
    return print_documents(call.arguments, call.text("format"), lambda name: document(layout, load(layout, name)))


VERBS = {
    "inspect": Verb(
        inspect,
        (text("-f/--format", "A Go template, or json."),),
        "VOLUME...",
        summary="Show all that is known of volumes, as JSON",
        examples=(("minirun volume inspect -f '{{.Mountpoint}}' data", "where its files are"),),
    )
}
