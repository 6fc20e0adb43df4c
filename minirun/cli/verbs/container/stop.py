"""`stop`, `kill` and `wait`: a container's end."""

from __future__ import annotations

from minirun.cli.grammar import Verb, number, text
from minirun.cli.streams import say
from minirun.cli.verbs.container.several import act_on_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call


def stop(call: Call) -> int:
    """Stop one or more running containers: ask first, then kill."""
    from minirun.engine.container import ending

    return act_on_all(call, lambda layout, records: ending.stop(layout, records, call.number("timeout")))


def kill(call: Call) -> int:
    """Send a signal to one or more running containers."""
    from minirun.engine.container import ending

    return act_on_all(call, lambda layout, records: ending.kill(layout, records, call.text("signal", "KILL")))


def wait(call: Call) -> int:
    """Wait until containers end and print their exit codes."""
    from minirun.engine.container import records, running

    layout = call.swept_layout()
    return call.for_each(lambda name: say(str(running.wait(layout, records.find_any(layout, name)))))


VERBS = {
    "stop": Verb(
        stop, (number("-t/--timeout/--time", "How long to wait before killing; -1: for ever."),), "CONTAINER..."
    ),
    "kill": Verb(
        kill,
        (text("-s/--signal", "Signal to send (default KILL)."),),
        "CONTAINER...",
        examples=(("minirun kill -s HUP web", "have a server read its configuration again"),),
    ),
    "wait": Verb(wait, (), "CONTAINER..."),
}
