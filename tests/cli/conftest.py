"""Fixtures that several files of these tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.commands import Minirun

    RunInBackground = Callable[..., str]


@pytest.fixture
def background(minirun: Minirun, busybox_image: str) -> RunInBackground:
    """Return a function that runs a container with a name in the background and returns its id."""

    def run(name: str, *arguments: str, command: tuple[str, ...] = ("sleep", "1000")) -> str:
        options = ["--network=none", *arguments] if "bridge" not in arguments else list(arguments)
        return minirun("run", "-d", "--name", name, *options, busybox_image, *command).stdout.strip()

    return run
