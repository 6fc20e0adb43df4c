"""The verbs `state`, `list`, `ps` and `events` of `minirun-oci`: what is known about containers."""

from __future__ import annotations

from minirun.cli.grammar import Verb, switch, text
from minirun.errors import MinirunError
from minirun.model import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.oci.call import Call


def state(call: Call) -> None:
    """Print a container's state as JSON."""
    from minirun.runtime.compat import state_output

    print(jsontext.dumps_for_people(state_output.of_container(call.root, call.container_id())))


def list_(call: Call) -> None:
    """List the containers below --root."""
    from minirun.runtime.compat import state_output

    print(state_output.listing(call.root, call.text("format", "table"), quiet=call.switch("quiet")), end="")


def ps(call: Call) -> None:
    """List the processes of a container: as a table of ps(1), or with --format json their pids."""
    from minirun.runtime import lifecycle
    from minirun.runtime.compat import state_output

    pids = lifecycle.processes(call.root, call.container_id())
    form = call.text("format", "table")
    if form not in ("table", "json"):
        raise MinirunError("invalid format option", "Use table or json.")
    if form == "json":
        print(jsontext.dumps(pids))
    else:
        print(state_output.process_table(pids, call.arguments[1:]), end="")


def events(call: Call) -> None:
    """Print a container's counters, every --interval, or once with --stats."""
    from minirun.runtime.cgroup import stats

    stats.follow(call.root, call.container_id(), once=call.switch("stats"), interval=call.text("interval", "5s"))


VERBS = {
    "state": Verb(state, (), "ID"),
    "list": Verb(list_, (text("--format/-f", "table or json."), switch("--quiet/-q", "Ids only."))),
    "ps": Verb(ps, (text("--format/-f", "table or json."),), "ID [PS OPTIONS]", interspersed=False),
    "events": Verb(
        events,
        (
            text("--interval", "Time between two readings (5s)."),
            switch("--stats", "Print one reading and end."),
        ),
        "ID",
    ),
}
