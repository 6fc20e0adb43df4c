"""Entries of a container's log, as the monitor writes them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


SECOND = 10**9


def stamp(second: float) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


def entry(text: str, second: float = 0, stream: str = "stdout") -> bytes:
    return json.dumps({"log": text, "stream": stream, "time": stamp(second)}, separators=(",", ":")).encode() + b"\n"


def write(path: Path, entries: Iterable[bytes]) -> str:
    path.write_bytes(b"".join(entries))
    return str(path)
