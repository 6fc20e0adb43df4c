"""Where the executable `minirun` begins: what can be under way before the flags are read."""

from __future__ import annotations

import os
import signal
import sys

from minirun.cli import streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

# The commands that make a process in a container. Where global options come first, the builder is forked later.
_BUILDING = frozenset({"run", "start", "exec"})


def main() -> NoReturn:
    """Have a builder prepare itself if one will be needed, read the command line, do it, and exit."""
    # Nobody can catch a KeyboardInterrupt yet: until then, Ctrl-C just ends this process.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    streams.complete()
    # The container's processes inherit it, and every user in there must be able to read /etc/hosts.
    os.umask(0o022)
    if sys.argv[1:] and sys.argv[1] in _BUILDING and not {"--help", "-h"} & set(sys.argv[2:3]):
        from minirun.engine import launch

        launch.start_builder()
    code = _run(before)
    # Python would take itself apart, for 3 ms, and then exit with 120 where standard error cannot be written.
    os._exit(code)


def _run(before: Any) -> int:
    if sys.argv[1:2] == ["run"]:
        from minirun.cli import quick

        signal.signal(signal.SIGINT, before)
        code = quick.run(sys.argv[2:])
        if code is not None:
            return code
    from minirun.cli.main import main as run_command

    signal.signal(signal.SIGINT, before)
    return run_command(sys.argv[1:])
