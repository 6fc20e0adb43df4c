"""`diff`: what a container has written."""

from __future__ import annotations

import os

from minirun.cli.grammar import Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call


def diff(call: Call) -> None:
    """List the files that a container has added (A), changed (C) and deleted (D) since it was made from its image.

    What is in volumes does not count.
    """
    from minirun.engine.container.records import find
    from minirun.engine.files import diff as engine
    from minirun.errors import printable

    layout = call.swept_layout()
    for kind, path in engine.diff(layout, find(layout, call.arguments[0])):
        print(kind, printable(os.fsdecode(path)))


VERBS = {"diff": Verb(diff, (), "CONTAINER", summary="List what a container has changed of its image")}
