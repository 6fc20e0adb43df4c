"""`manifest inspect` beside Docker's."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from support.fake_registry import INDEX, MANIFEST, descriptor
from support.image_archives import config, digest, files

if TYPE_CHECKING:
    from support.commands import Minirun
    from support.fake_registry import FakeRegistry

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
LAYER = files({"file": b"content"})
CONFIG = config([LAYER])


def _fill(registry: FakeRegistry) -> None:
    registry.add_image("oci", [LAYER], annotations={"some": "words"})
    manifest = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": descriptor("application/vnd.docker.container.image.v1+json", CONFIG),
        "layers": [descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", LAYER)],
    }
    registry.add_manifest("docker", manifest, DOCKER_MANIFEST)
    arm = {"os": "linux", "architecture": "arm", "variant": "v7", "os.version": "1", "os.features": ["x"]}
    entries = [
        descriptor(MANIFEST, registry.manifests["oci"][1]) | {"platform": {"os": "linux", "architecture": "amd64"}},
        descriptor(DOCKER_MANIFEST, registry.manifests["docker"][1]) | {"platform": arm, "annotations": {"a": "b"}},
    ]
    registry.add_manifest("index", {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, INDEX)
    registry.add_manifest("list", {"schemaVersion": 2, "mediaType": DOCKER_INDEX, "manifests": entries}, DOCKER_INDEX)


def _docker_says(name: str) -> Any:
    command = ["docker", "manifest", "inspect", "--verbose", "--insecure", name]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


@pytest.mark.parametrize("tag", ["oci", "docker", "index", "list"])
def test_verbose_is_dockers(minirun: Minirun, registry: FakeRegistry, tag: str) -> None:
    _fill(registry)
    name = f"{registry.host}/a:{tag}"
    said = json.loads(minirun("manifest", "inspect", "--verbose", name).stdout)
    expected = _docker_says(name)
    for one in expected if isinstance(expected, list) else [expected]:
        # Docker shows a manifest as far as it knows it.
        (shown,) = [value for key, value in one.items() if key.endswith("Manifest")]
        if shown["config"]["mediaType"].startswith("application/vnd.oci"):
            shown["annotations"] = {"some": "words"}
    assert said == expected
    plain = json.loads(minirun("manifest", "inspect", name).stdout)
    assert plain == json.loads(registry.manifests[tag][1])


def test_by_digest(minirun: Minirun, registry: FakeRegistry) -> None:
    _fill(registry)
    name = f"{registry.host}/a@{digest(registry.manifests['oci'][1])}"
    assert json.loads(minirun("manifest", "inspect", "-v", name).stdout)["Ref"] == name == _docker_says(name)["Ref"]


@pytest.mark.parametrize(
    ("manifest", "sentence"),
    [
        (b"[" * 1000, "the manifest is not valid JSON"),
        (b'{"manifests": [{"digest": "md5:0"}]}', "'md5:0' is not one of sha256"),
        (b'{"manifests": 7}', "an index is malformed"),
        (b"7", "this is not an image manifest"),
    ],
)
def test_what_is_no_manifest(minirun: Minirun, registry: FakeRegistry, manifest: bytes, sentence: str) -> None:
    registry.manifests["1"] = (MANIFEST, manifest)
    done = minirun("manifest", "inspect", "-v", f"{registry.host}/a:1", check=False)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_missing_one(minirun: Minirun, registry: FakeRegistry) -> None:
    done = minirun("manifest", "inspect", f"{registry.host}/a:1", check=False)
    assert done.returncode == 1
    assert f"manifest for {registry.host}/a:1 not found" in done.stderr
