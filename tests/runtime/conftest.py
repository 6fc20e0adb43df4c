"""Fixtures of the tests that start containers, or parts of them, without the engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from monitored import Monitored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def monitored(tmp_path: Path) -> Iterator[Callable[..., Monitored]]:
    """Return a function that starts a command under a monitor."""
    started: list[Monitored] = []

    def start(*command: str, folder: str | None = None, **options: Any) -> Monitored:
        place = Path(folder) if folder else tmp_path / str(len(started))
        place.mkdir(exist_ok=True)
        started.append(Monitored(place, *command, **options))
        return started[-1]

    yield start
    for monitor in started:
        monitor.close()
