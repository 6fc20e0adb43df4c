"""What every `prune` asks before, and tells afterwards."""

from __future__ import annotations

import sys

from minirun.cli.output.words import decimal_size
from minirun.cli.streams import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call


def agreed(call: Call, warning: str) -> bool:
    """Say what will go, and ask whether it may, until the answer is yes or no; a mere new line is no.

    Raises KeyboardInterrupt at the end of the input.
    """
    if call.switch("force"):
        return True
    say(warning)
    while True:
        print("Are you sure you want to continue? [y/N]: ", end="", flush=True)
        answer = sys.stdin.readline()
        if not answer:
            raise KeyboardInterrupt
        if answer.strip().lower() in ("", "n", "no"):
            return False
        if answer.strip().lower() in ("y", "yes"):
            return True
        say("Error: invalid input")


def tell_removed(title: str, names: list[str]) -> None:
    """List what was removed, if anything was."""
    if names:
        say("\n".join((title, *names, "")))


def tell_space(freed: int) -> None:
    """Tell how many bytes came free."""
    say(f"Total reclaimed space: {decimal_size(freed, 4)}")
