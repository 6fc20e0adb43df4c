"""What is damaged in the store is made whole by the next load of the image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from loading import BASE, TOP, load_members
from support.image_archives import digest, docker_archive

from minirun.errors import MinirunError
from minirun.kernel.hostfiles import remove_tree
from minirun.storage import images
from minirun.storage.store import note_damage

if TYPE_CHECKING:
    from collections.abc import Callable

    from minirun.model.layout import Layout


def lose_tree(layer: Path, _link: Path) -> None:
    remove_tree(str(layer / "diff"))


def lose_all(layer: Path, link: Path) -> None:
    remove_tree(str(layer))
    link.unlink()


def lose_link(_layer: Path, link: Path) -> None:
    link.unlink()


def misdirect_link(_layer: Path, link: Path) -> None:
    link.unlink()
    link.symlink_to("../nowhere/diff")


def directory_for_link(_layer: Path, link: Path) -> None:
    link.unlink()
    link.mkdir()


def lose_recipe(layer: Path, _link: Path) -> None:
    (layer / "recipe").unlink()


DAMAGES = [lose_tree, lose_all, lose_link, misdirect_link, directory_for_link, lose_recipe]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_layer(layout: Layout, tmp_path: Path, damage: Callable[[Path, Path], None]) -> None:
    archive = docker_archive([BASE, TOP], "app:1")
    [loaded] = load_members(layout, archive, tmp_path)
    layer = Path(images.layer_directory(layout, digest(BASE)))
    link = Path(layout.layer_links) / layer.name[: images.LINK_LENGTH]
    other = Path(images.layer_directory(layout, digest(TOP))).stat().st_ino
    damage(layer, link)
    if damage not in (lose_recipe, directory_for_link):
        with pytest.raises(MinirunError, match=r"a layer of image sha256:[0-9a-f]{64} is missing") as failure:
            images.read_only_snapshot(layout, loaded.image, "", "/")
        digits = loaded.image.id[7:19]
        assert failure.value.hint == (
            f"Load or pull the image {digits} (docker.io/library/app:1) again, or remove it by 'minirun rmi {digits}'."
        )
    load_members(layout, archive, tmp_path)
    assert (link / "etc/os").read_text() == "base"
    assert os.path.samefile(link, layer / "diff")
    assert (layer / "recipe").stat().st_size
    assert Path(images.layer_directory(layout, digest(TOP))).stat().st_ino == other, "what is whole stays"
    assert os.listdir(layout.ingest) == []
    images.read_only_snapshot(layout, loaded.image, "", "/")


def test_a_layer_that_was_found_damaged(layout: Layout, tmp_path: Path) -> None:
    archive = docker_archive([BASE], "app:1")
    load_members(layout, archive, tmp_path)
    changed = Path(images.layer_directory(layout, digest(BASE))) / "diff/etc/os"
    changed.write_text("changed")
    load_members(layout, archive, tmp_path)
    assert changed.read_text() == "changed", "it is not looked at again without a reason"
    note_damage(layout, digest(BASE))
    load_members(layout, archive, tmp_path)
    assert changed.read_text() == "base"
    load_members(layout, archive, tmp_path)
    assert os.listdir(layout.ingest) == []
