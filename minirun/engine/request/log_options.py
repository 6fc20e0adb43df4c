"""The options of the log: how long it gets, and how many old files of it are kept."""

from __future__ import annotations

from minirun.engine.sizes import parse_size
from minirun.errors import MinirunError


def log_options(texts: tuple[str, ...]) -> dict[str, str]:
    """Check `--log-opt max-size=10m --log-opt max-file=3`: when the log is rotated and how many files are kept.

    Raises MinirunError.
    """
    options = {name: value for name, _, value in (text.partition("=") for text in texts)}
    for name, value in options.items():
        if name not in ("max-size", "max-file"):
            raise MinirunError(f"unknown log opt '{name}'", "Use max-size=SIZE and max-file=NUMBER.")
        if name == "max-size" and value != "-1":
            parse_size(value)
        if name == "max-file" and not (value.isascii() and value.isdigit() and int(value)):
            raise MinirunError(f"invalid value for log opt max-file: '{value}'", "Use a number from 1.")
    if "max-file" in options and options.get("max-size", "-1") == "-1" and options["max-file"] != "1":
        raise MinirunError("log opt max-file needs max-size", "Without a size the log is never rotated.")
    return options
