"""Archives put into a store, and what it holds afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from support.image_archives import (
    entry,
    files,
    tar,
)

from minirun.model.layout import Layout
from minirun.storage import images
from minirun.storage.archive.load import Loaded, load

if TYPE_CHECKING:
    from collections.abc import Iterable

BASE = files({"etc/os": b"base", "gone": b"x"})
TOP = tar(entry("etc/os", b"top"), entry(".wh.gone"))


def load_members(layout: Layout, members: dict[str, bytes], tmp_path: Path) -> list[Loaded]:
    return load_bytes(layout, files(members), tmp_path)


def load_bytes(layout: Layout, data: bytes, tmp_path: Path) -> list[Loaded]:
    path = tmp_path / "archive"
    path.write_bytes(data)
    return list(load(layout, str(path)))


def everything(layout: Layout) -> list[str]:
    """What the store holds beside its own empty directories and its lock."""
    root = Path(layout.root)
    own = {"images/lock", "images/names.json", "reserve"}
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if (not path.is_dir() or path.parent.name == "ingest") and str(path.relative_to(root)) not in own
    )


def top_file(layout: Layout, loaded: Loaded, name: str) -> bytes:
    return Path(images.layer_directory(layout, loaded.image.layers[-1].diff_id), "diff", name).read_bytes()


def names(loaded: Iterable[Loaded]) -> list[list[str]]:
    return [[name.familiar for name in one.names] for one in loaded]
