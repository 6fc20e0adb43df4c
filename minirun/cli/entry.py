"""Where the executable `minirun` begins: what can be under way before the flags are read."""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# The commands that make a process in a container. Where global options come first, the builder is forked later.
_BUILDING = frozenset({"run", "start", "exec"})


def main() -> NoReturn:
    """Have a builder prepare itself if one will be needed, then read the command line."""
    # Nobody can catch a KeyboardInterrupt yet: until then, Ctrl-C just ends this process.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    put_in_order()
    if sys.argv[1:] and sys.argv[1] in _BUILDING and not {"--help", "-h"} & set(sys.argv[2:3]):
        from minirun.engine import launch

        launch.start_builder()
    if sys.argv[1:2] == ["run"]:
        from minirun.cli import quick

        signal.signal(signal.SIGINT, before)
        code = quick.run(sys.argv[2:])
        if code is not None:
            sys.exit(code)
    from minirun.cli.main import main as run_command

    signal.signal(signal.SIGINT, before)
    run_command()


def put_in_order() -> None:
    """Make what this process has inherited what everything after it relies on: standard streams and the umask."""
    # A descriptor that is free would become some file or pipe of ours, which then were the container's output.
    null = os.open(os.devnull, os.O_RDWR)
    while null <= 2:
        null = os.dup(null)
    os.close(null)
    # Python has no object for a stream that was closed when it started.
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    # The container's processes inherit it, and every user in there must be able to read /etc/hosts.
    os.umask(0o022)
