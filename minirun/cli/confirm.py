"""Asking before something is removed."""

from __future__ import annotations

import sys

from minirun.cli.streams import say


def confirmed(question: str) -> bool:
    """Ask until the answer is yes or no; a mere new line is no. Raises KeyboardInterrupt at the end of the input."""
    while True:
        print(f"{question} [y/N]: ", end="", flush=True)
        answer = sys.stdin.readline()
        if not answer:
            raise KeyboardInterrupt
        if answer.strip().lower() in ("", "n", "no"):
            return False
        if answer.strip().lower() in ("y", "yes"):
            return True
        say("Error: invalid input")
