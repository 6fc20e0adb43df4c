"""Loads at the same time, and loads that are killed: their leftovers are cleaned up, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from loading import BASE, TOP, everything, load_members
from support.image_archives import (
    digest,
    docker_archive,
    files,
)

from minirun.model.layout import Layout
from minirun.storage import images
from minirun.storage.ingest import Ingest, collect_garbage
from minirun.storage.store import remove_image

if TYPE_CHECKING:
    pass


def test_loads_at_once_do_not_disturb_each_other(layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(files(docker_archive([BASE, TOP], "app")))
    script = "import sys; from minirun.model.layout import Layout; from minirun.storage.archive.load import load\n"
    script += "list(load(Layout(sys.argv[1], ''), sys.argv[2]))"
    loads = [subprocess.Popen([sys.executable, "-c", script, layout.root, path]) for _ in range(6)]
    assert [process.wait(60) for process in loads] == [0] * 6
    assert os.listdir(layout.ingest) == []
    remove_image(layout, images.find(layout, "app").id)
    assert everything(layout) == []


def test_a_layer_that_a_load_relies_on_is_not_removed_under_it(layout: Layout, tmp_path: Path) -> None:
    [loaded] = load_members(layout, docker_archive([BASE], "app"), tmp_path)
    with Ingest(layout) as ingest:
        ingest.pin_layer(digest(BASE))
        assert remove_image(layout, loaded.image.id) == []
        assert Path(images.layer_directory(layout, digest(BASE))).exists()
    assert everything(layout) == []


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.1, 0.15, 0.2, 0.3])
def test_a_killed_load_leaves_nothing_after_the_next_command(layout: Layout, tmp_path: Path, delay: float) -> None:
    layers = [files({f"{number}/{i}": os.urandom(20) for i in range(700)}) for number in range(3)]
    path = tmp_path / "archive"
    path.write_bytes(files(docker_archive(layers, "app")))
    script = "import sys; from minirun.model.layout import Layout; from minirun.storage.archive.load import load\n"
    script += "print('go', flush=True); list(load(Layout(sys.argv[1], ''), sys.argv[2]))"
    process = subprocess.Popen([sys.executable, "-c", script, layout.root, path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "go\n"
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    collect_garbage(layout)
    for image in images.all_images(layout):  # the kill came after its end, or just before the name was given
        remove_image(layout, image.id)
    assert everything(layout) == []


def test_garbage_of_living_work_is_left_alone(layout: Layout) -> None:
    with Ingest(layout) as ingest:
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(collect_garbage(layout)))
        thread.start()
        thread.join()
        assert found == [0]
        assert Path(ingest.path).is_dir()
    assert os.listdir(layout.ingest) == []


def test_looking_for_garbage_is_cheap(layout: Layout, tmp_path: Path) -> None:
    load_members(layout, docker_archive([BASE], "app"), tmp_path)
    times = []
    for _ in range(20):
        started = time.perf_counter()
        assert collect_garbage(layout) == 0
        times.append(time.perf_counter() - started)
    assert min(times) < 0.001
