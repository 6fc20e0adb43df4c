"""Where the executable `minirun` begins: what can be under way before the flags are read."""

from __future__ import annotations

import os
import sys

from minirun.cli import interrupts, streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# The commands that make a process in a container. Where global options come first, the shim is forked later.
_BUILDING = frozenset({"run", "start", "exec"})


def main() -> NoReturn:
    """Have a shim prepare itself if one will be needed, read the command line, do it, and exit."""
    streams.complete()
    # The container's processes inherit it, and every user in there must be able to read /etc/hosts.
    os.umask(0o022)
    if sys.argv[1:] and sys.argv[1] in _BUILDING and not {"--help", "-h"} & set(sys.argv[2:3]):
        from minirun.engine.shim import launch

        launch.start_shim()
    interrupts.exit_after(_run)


def _run() -> int:
    words = sys.argv[1:]
    if words[:1] == ["run"]:
        from minirun.cli import quick

        code = quick.run(words[1:])
        if code is not None:
            return code
    from minirun.cli.main import main as run_command

    return run_command(words)
