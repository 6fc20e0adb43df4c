"""What `state`, `list` and `ps` print, in the form that runc's users parse."""

from __future__ import annotations

import os
import sys
import time

from minirun.errors import MinirunError, printable
from minirun.kernel.process import run_program
from minirun.model import jsontext
from minirun.runtime import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def of_container(root: str, container_id: str) -> dict[str, Any]:
    """Return a container's state: runtime.md's fields, and the three that runc adds. Raises MinirunError."""
    found = state.load(root, container_id)
    document = state.document(found, state.status(root, found))
    annotations = document.pop("annotations", None)
    document |= {"rootfs": found.rootfs, "created": _timestamp(found.created)}
    if annotations:
        document["annotations"] = annotations
    document["owner"] = ""
    if found.unit:
        document["systemd-scope"] = found.unit  # crun's users look for it
    return document


def _owner(path: str) -> str:
    """Return the name of the user who made a container."""
    import pwd

    uid = os.stat(path).st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def matching(root: str, pattern: str) -> list[str]:
    """Return the ids of the containers below `root` that the regular expression matches somewhere.

    Raises MinirunError if it is not a regular expression.
    """
    import re

    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise MinirunError(f"'{pattern}' is not a regular expression: {error}") from error
    return [name for name in _containers(root) if expression.search(name)]


def _containers(root: str) -> list[str]:
    return sorted(os.listdir(root)) if os.path.isdir(root) else []


def listing(root: str, form: str, *, quiet: bool) -> str:
    """Return all containers below `root` as a table, as JSON, or as ids. Raises MinirunError."""
    if form not in ("table", "json"):
        raise MinirunError(f"invalid format option '{form}'", "Use table or json.")
    rows = []
    for name in _containers(root):
        try:
            rows.append(of_container(root, name) | {"owner": _owner(f"{root}/{name}")})
        except MinirunError as error:
            if os.path.exists(f"{state.directory(root, name)}/{state.LOCK}"):
                print(f"load container {name}: {error.message}", file=sys.stderr)  # being made, or that was cut off
        except FileNotFoundError:
            pass  # removed right now
    if quiet:
        return "".join(f"{row['id']}\n" for row in rows)
    if form == "json":
        return (jsontext.dumps(rows) if rows else "null") + "\n"  # as the Go programs that read it write it
    header = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")
    table = [header, *(tuple(printable(str(row[name.lower()])) for name in header) for row in rows)]
    return _aligned(table)


def process_table(pids: list[int], options: Sequence[str]) -> str:
    """Return those lines of ps(1) that are about `pids`; without options as `ps -ef` has them. Raises MinirunError."""
    code, output = run_program("/bin/ps", ("ps", *(options or ("-ef",))), (f"PATH={os.defpath}",), b"", 10)
    if code != 0:
        raise MinirunError(f"ps failed: {output.strip()}", "Is the package procps installed?")
    header, *lines = output.splitlines()
    titles = header.split()
    if "PID" not in titles:
        raise MinirunError("these options of ps give no PID column", "Without it the lines cannot be told apart.")
    column = titles.index("PID")
    wanted = {str(pid) for pid in pids}
    return "\n".join([header, *(line for line in lines if line.split()[column] in wanted)]) + "\n"


def _aligned(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "".join(
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows
    )


def _timestamp(seconds: float) -> str:
    """Write a time as RFC 3339 with nanoseconds, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 10**9):09}Z"
