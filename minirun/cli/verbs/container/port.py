"""`port`: where a container's ports are published."""

from __future__ import annotations

from minirun.cli.grammar import Verb
from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call


def port(call: Call) -> None:
    """Show where a container's ports are published."""
    from minirun.cli.output.ps import address
    from minirun.engine.container import publishing, records
    from minirun.engine.container.status import status as status_of

    layout = call.swept_layout()
    name, *private = call.arguments
    record = records.find(layout, name)
    runs = status_of(layout, record).is_running
    if runs:
        publishing.look_after(layout, record)
    published = record.endpoint.ports if record.endpoint and runs else ()
    if not private:
        for mapping in published:
            print(f"{mapping.container_port}/{mapping.protocol} -> {address(mapping)}")
        return
    wanted = private[0].lower() if "/" in private[0] else f"{private[0]}/tcp"
    found = [mapping for mapping in published if f"{mapping.container_port}/{mapping.protocol}" == wanted]
    if not found:
        raise MinirunError(f"no public port '{wanted}' published for {name}")
    for mapping in found:
        print(address(mapping))


VERBS = {"port": Verb(port, (), "CONTAINER [PORT[/PROTOCOL]]")}
