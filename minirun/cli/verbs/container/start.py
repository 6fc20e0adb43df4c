"""`start`, `restart` and `attach`."""

from __future__ import annotations

import os

from minirun.cli.grammar import Verb, number, switch, text
from minirun.cli.verbs.container.several import act_on_all, act_on_each
from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call
    from minirun.engine.container.attaching import Attachment
    from minirun.model.container import ContainerRecord
    from minirun.model.layout import Layout


def start(call: Call) -> int:
    """Start one or more stopped containers."""
    from minirun.engine.container import attaching, records, starting

    reads = call.switch("interactive")
    if not reads and not call.switch("attach"):
        return act_on_each(call, _start)
    layout = call.swept_layout()
    if len(call.arguments) > 1:
        raise MinirunError("you cannot start and attach multiple containers at once")
    record = records.find(layout, call.arguments[0])
    return starting.start(layout, record, _attachment(call, record, reads=reads), attaching.terminal_size())


def _start(layout: Layout, record: ContainerRecord) -> None:
    from minirun.engine.container import attaching, starting

    starting.start(layout, record, console_size=attaching.terminal_size())


def attach(call: Call) -> int:
    """Attach your standard streams to a running container."""
    from minirun.engine.container import records, running

    layout = call.swept_layout()
    record = records.find(layout, call.arguments[0])
    return running.attach(layout, record, _attachment(call, record, reads=not call.switch("no-stdin")))


def _attachment(call: Call, record: ContainerRecord, *, reads: bool) -> Attachment:
    from minirun.engine.container.attaching import Attachment

    if reads and record.request.tty and record.request.open_stdin and not os.isatty(0):
        raise MinirunError("the input device is not a TTY", "Run it from a terminal.")
    streams = frozenset({"stdout", "stderr", *(["stdin"] if reads else [])})
    return Attachment(streams, call.switch("sig-proxy", default=True), call.text("detach-keys"))


def restart(call: Call) -> int:
    """Stop one or more containers and start them again."""
    from minirun.engine.container import ending

    timeout = call.number("timeout")
    return act_on_all(call, lambda layout, records: ending.stop(layout, records, timeout), _start)


_SIG_PROXY = switch("--sig-proxy", "Forward signals (default true).", default=True)
_DETACH_KEYS = text("--detach-keys", "Keys that detach (default ctrl-p,ctrl-q).")
VERBS = {
    "start": Verb(
        start,
        (
            switch("-a/--attach", "Attach standard output and error, and wait for the end."),
            switch("-i/--interactive", "Attach standard input."),
            _SIG_PROXY,
            _DETACH_KEYS,
        ),
        "CONTAINER...",
    ),
    "restart": Verb(
        restart,
        (number("-t/--timeout/--time", "How long to wait before killing; -1: for ever."),),
        "CONTAINER...",
    ),
    "attach": Verb(
        attach, (switch("--no-stdin", "Do not attach standard input."), _SIG_PROXY, _DETACH_KEYS), "CONTAINER"
    ),
}
