"""`rename`."""

from __future__ import annotations

from minirun.cli.grammar import Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call


def rename(call: Call) -> None:
    """Rename a container."""
    from minirun.engine.container import records
    from minirun.engine.request.options import check_name

    layout = call.swept_layout()
    name, new_name = call.arguments
    records.rename(layout, records.find(layout, name), check_name(new_name))


VERBS = {"rename": Verb(rename, (), "CONTAINER NEW_NAME")}
