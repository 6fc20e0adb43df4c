"""Images for other machines: what `--platform` refuses, and what runs with a warning."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support import image_archives
from support.image_archives import digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.commands import Minirun


@pytest.fixture
def image_for(minirun: Minirun, busybox_image: str, busybox_rootfs: Path) -> Callable[..., str]:  # noqa: ARG001
    """Return a function that makes a busybox image whose config names a platform, and returns the image's name."""

    def make(architecture: str, variant: str = "") -> str:
        layer = busybox_rootfs.read_bytes()
        document = {
            "os": "linux",
            "architecture": architecture,
            "config": {"Cmd": ["echo", "it runs"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
        }
        if variant:
            document["variant"] = variant
        name = f"for-{architecture}{variant}:latest"
        manifest = [{"Config": "config", "Layers": ["layer"], "RepoTags": [name]}]
        members = {
            "config": json.dumps(document).encode(),
            "layer": layer,
            "manifest.json": json.dumps(manifest).encode(),
        }
        minirun("load", input=image_archives.files(members))
        return name

    return make


@pytest.mark.parametrize("verb", ["run", "create"])
def test_another_platform_than_the_images_is_refused(
    minirun: Minirun, image_for: Callable[..., str], verb: str
) -> None:
    name = image_for("arm64")
    refused = minirun(verb, "--pull=never", "--platform", "linux/amd64", name, check=False)
    assert refused.returncode == {"run": 125, "create": 1}[verb]
    expected = f"image with reference {name} was found but does not match the specified platform: wanted linux/amd64"
    assert f"{expected}, actual: linux/arm64" in refused.stderr
    assert not minirun("ps", "-aq").stdout


def test_the_images_own_platform_is_taken_without_a_warning(minirun: Minirun, image_for: Callable[..., str]) -> None:
    done = minirun("run", "--rm", "--network=none", "--platform", "linux/aarch64", image_for("arm64"))
    assert (done.stdout, done.stderr) == ("it runs\n", "")


@pytest.mark.parametrize("verb", ["run", "create"])
def test_a_foreign_image_gives_dockers_warning(minirun: Minirun, image_for: Callable[..., str], verb: str) -> None:
    done = minirun(verb, "--network=none", image_for("s390x"))
    assert (
        "The requested image's platform (linux/s390x) does not match the detected host platform (linux/" in done.stderr
    )
    assert "and no specific platform was requested" in done.stderr
    if verb == "run":
        assert done.stdout == "it runs\n"


@pytest.mark.parametrize(("architecture", "variant"), [("amd64", ""), ("amd64", "v1"), ("386", "")])
def test_what_this_machine_runs_gives_none(
    minirun: Minirun, image_for: Callable[..., str], architecture: str, variant: str
) -> None:
    done = minirun("run", "--rm", "--network=none", image_for(architecture, variant))
    assert (done.stdout, done.stderr) == ("it runs\n", "")


def test_what_is_no_platform_is_refused(minirun: Minirun, busybox_image: str) -> None:
    refused = minirun("run", "--platform", "no/such/thing/at/all", busybox_image, check=False)
    assert refused.returncode == 125
    assert "platform" in refused.stderr
