"""Where the executable `minirun` begins."""

from __future__ import annotations

import sys

from minirun.cli import interrupts, streams
from minirun.kernel.process import set_umask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Read the command line, do it, and exit."""
    streams.complete()
    # The container's processes inherit it, and every user inside must be able to read /etc/hosts.
    set_umask(0o022)
    interrupts.exit_after(_run)


def _run() -> int:
    from minirun.cli.main import main as run

    return run(sys.argv[1:])
