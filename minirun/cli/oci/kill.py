"""The verbs `kill`, `pause` and `resume` of `minirun-oci`: all that is done to running processes."""

from __future__ import annotations

from minirun.cli.grammar import Verb, switch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.oci.call import Call


def kill(call: Call) -> None:
    """Send a signal (default TERM) to a container's first process, or with --all to every process."""
    from minirun.model.signals import parse_signal
    from minirun.runtime import lifecycle

    word = call.arguments[1] if len(call.arguments) > 1 else "TERM"
    number = 0 if word == "0" else parse_signal(word)  # 0 only asks whether it runs
    if call.switch("all"):
        lifecycle.kill_all(call.root, call.container_id(), number)
    else:
        lifecycle.kill(call.root, call.container_id(), number)


def pause(call: Call) -> None:
    """Freeze every process of a container."""
    from minirun.runtime import lifecycle

    lifecycle.pause(call.root, call.container_id())


def resume(call: Call) -> None:
    """Let a paused container go on."""
    from minirun.runtime import lifecycle

    lifecycle.resume(call.root, call.container_id())


VERBS = {
    "kill": Verb(kill, (switch("--all/-a", "Every process of the container."),), "ID [SIGNAL]"),
    "pause": Verb(pause, (), "ID"),
    "resume": Verb(resume, (), "ID"),
}
