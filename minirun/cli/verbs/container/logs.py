"""`logs`: what a container has written, with standard output and standard error apart."""

from __future__ import annotations

import time
from contextlib import ExitStack

from minirun.cli.grammar import Verb, switch, text
from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call


def logs(call: Call) -> None:
    """Print what CONTAINER has written so far."""
    from minirun.engine.container import monitor_client, records
    from minirun.engine.logs import parse_moment, read_logs

    layout = call.swept_layout()
    now = time.time_ns()
    since, until, tail = call.text("since"), call.text("until"), call.text("tail", "all")
    since_ns = parse_moment(since, now) if since else None
    until_ns = parse_moment(until, now) if until else None
    record = records.find(layout, call.arguments[0])
    if record.request.log_driver == "none":
        raise MinirunError("configured logging driver does not support reading", "its --log-driver is none")
    with ExitStack() as connected:
        # Before reading: what is written from now on, the monitor tells.
        monitor = monitor_client.connect(layout, record.id) if call.switch("follow") else None
        if monitor is not None:
            connected.enter_context(monitor)
            monitor_client.subscribe(monitor, log=True)
        read_logs(
            f"{layout.container(record.id)}/container.log",
            tail=int(tail) if tail.isdecimal() else None,  # as Docker does: all, for what is no number
            since_ns=since_ns,
            until_ns=until_ns,
            timestamps=call.switch("timestamps"),
            follow=monitor,
        )


VERBS = {
    "logs": Verb(
        logs,
        (
            switch("-f/--follow", "Show what comes, until the container ends."),
            text("-n/--tail", "Lines to show from the end (default all)."),
            text("--since", "From then on: 2024-01-02T15:04:05Z, or 10m for 'ten minutes ago'."),
            text("--until", "Until then."),
            switch("-t/--timestamps", "Show when each line was written."),
        ),
        "CONTAINER",
        examples=(("minirun logs -f --tail 10 web", "the last ten lines, and what comes"),),
    )
}
