"""Where the executable `minirun` begins: what can be under way before the flags are read."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# The commands that make a process in a container. Where global options come first, the builder is forked later.
_BUILDING = frozenset({"run", "start", "exec"})


def main() -> NoReturn:
    """Have a builder prepare itself if one will be needed, then read the command line."""
    if sys.argv[1:] and sys.argv[1] in _BUILDING and not {"--help", "-h"} & set(sys.argv[2:3]):
        from minirun.engine import launch

        launch.start_builder()
    from minirun.cli.main import main as run_command

    run_command()
