"""`exec`: a further process in a container."""

from __future__ import annotations

import os

from minirun.cli.grammar import Verb, many, switch, text
from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call


def exec_(call: Call) -> int:
    """Run a further COMMAND in a running container."""
    from minirun.engine.container import attaching, records, running
    from minirun.engine.spec.environment import from_flags
    from minirun.model.container import ExecRequest

    layout = call.swept_layout()
    name, *command = call.arguments
    record = records.find(layout, name)
    request = ExecRequest(
        command=tuple(command),
        environment=from_flags(call.many("env-file"), call.many("env")),
        working_dir=call.text("workdir"),
        user=call.text("user"),
        tty=call.switch("tty"),
        open_stdin=call.switch("interactive"),
        detach=call.switch("detach"),
        privileged=call.switch("privileged"),
    )
    if request.tty and request.open_stdin and not request.detach and not os.isatty(0):
        raise MinirunError("the input device is not a TTY", "Leave out --tty, or run it from a terminal.")
    streams = frozenset({"stdout", "stderr", *(["stdin"] if request.open_stdin else [])})
    attachment = None if request.detach else attaching.Attachment(streams, detach_keys=call.text("detach-keys"))
    try:
        return running.execute(layout, record, request, attachment, attaching.terminal_size())
    except MinirunError as error:
        from minirun.cli.help import advice

        raise advice.improve(error, f"exec {name}", command) from error


VERBS = {
    "exec": Verb(
        exec_,
        (
            switch("-d/--detach", "Run in the background."),
            switch("-i/--interactive", "Keep standard input open."),
            switch("-t/--tty", "Allocate a terminal."),
            switch("--privileged", "Give the command all capabilities."),
            many("-e/--env", "Set a variable; a NAME alone takes minirun's own value."),
            many("--env-file", "Read environment variables from a file."),
            text("-w/--workdir", "Work directory."),
            text("-u/--user", "Run as this user, by names or numbers."),
            text("--detach-keys", "Keys that detach (default ctrl-p,ctrl-q)."),
        ),
        "CONTAINER COMMAND [ARG...]",
        interspersed=False,
        examples=(
            ("minirun exec -it web sh", "a shell in a running container"),
            ("minirun exec -u 0 -e DEBUG=1 web env", "one command as root, with a variable"),
        ),
    )
}
