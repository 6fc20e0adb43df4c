"""What `minirun save` writes, loaded into other engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.image_archives import entry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.commands import Minirun

FORMS = ["docker", "oci"]


def save(minirun: Minirun, make_image: Callable[..., str], path: Path, form: str) -> tuple[str, str]:
    """Save an image with a file /greeting, under two names; return these."""
    name = make_image("saved.example/greeting:1", [entry("greeting", b"hello")], Cmd=["cat", "/greeting"])
    minirun("tag", name, "saved.example/greeting:2")
    minirun("save", "--format", form, "-o", path, "saved.example/greeting")
    minirun("rmi", "-f", name, "saved.example/greeting:2")
    return name, "saved.example/greeting:2"
