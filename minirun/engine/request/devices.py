"""The options that give a container devices: `--device` and `--device-cgroup-rule`."""

from __future__ import annotations

import re

from minirun.errors import MinirunError


def device(text: str) -> str:
    """Return "HOST:CONTAINER:MODE" for `--device HOST[:CONTAINER][:MODE]`. Raises MinirunError."""
    host, *more = text.split(":")
    mode = "rwm"
    if more and _is_mode(more[-1]):
        mode = more.pop()
    container = more.pop(0) if more else host
    if more or not host.startswith("/") or not container.startswith("/"):
        raise MinirunError(f"invalid device specification: {text}", "Write HOST[:CONTAINER][:rwm] with absolute paths.")
    return f"{host}:{container}:{mode}"


def _is_mode(text: str) -> bool:
    return re.fullmatch("[rwm]{1,3}", text) is not None and len(set(text)) == len(text)


def rule(text: str) -> str:
    """Check `--device-cgroup-rule` (devices of cgroup v1, devices.allow). Raises MinirunError."""
    if not re.fullmatch(r"[acb] ([0-9]+|\*):([0-9]+|\*) [rwm]{1,3}", text):
        raise MinirunError(f"invalid device cgroup format '{text}'", "Write for example 'c 1:3 rwm'.")
    return text
