"""OCI layouts with several images, platforms and artifacts: every name is loaded, in the best form for this machine."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.image_archives import add_blob, config, digest, docker_archive, files, oci_manifest, write_directory

from minirun.errors import MinirunError
from minirun.model.layout import Layout
from minirun.model.platform import Platform
from minirun.storage.archive import oci_layout
from minirun.storage.archive.found import Skipped
from minirun.storage.archive.load import Loaded, load

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
REF = "org.opencontainers.image.ref.name"
LAYERS = {name: files({"name": name.encode()}) for name in ("a", "b", "c", "d")}
AMD64 = {"os": "linux", "architecture": "amd64"}
ARM64 = {"os": "linux", "architecture": "arm64"}


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor with AVX2 and without AVX-512, whatever runs the tests."""
    monkeypatch.setattr(oci_layout, "host_platform", lambda: Platform("linux", "amd64", "v3"))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "root"), str(tmp_path / "state"))


def image(
    members: dict[str, bytes], layer: str, name: str = "", platform: dict[str, str] | None = None
) -> dict[str, Any]:
    """Add an image to a layout and return its descriptor, with a name and a platform."""
    descriptor = oci_manifest(members, [LAYERS[layer]], "gzip")
    if platform:
        descriptor["platform"] = platform
    if name:
        descriptor["annotations"] = {REF: name}
    return descriptor


def artifact(members: dict[str, bytes], **changes: Any) -> dict[str, Any]:
    """Add what oras, cosign and others write: a manifest that describes no root file system."""
    empty = add_blob(members, b"{}", "application/vnd.oci.empty.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": empty, "layers": [empty]} | changes
    return add_blob(members, json.dumps(manifest).encode(), MANIFEST)


def write(tmp_path: Path, members: dict[str, bytes], *descriptors: dict[str, Any]) -> str:
    members["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    members["index.json"] = json.dumps({"schemaVersion": 2, "manifests": descriptors}).encode()
    (tmp_path / "archive").write_bytes(files(members))
    return str(tmp_path / "archive")


def loaded(layout: Layout, path: str) -> tuple[dict[str, str], list[Skipped]]:
    """Load; return which layer each name (or id, of an image without a name) got, and what was skipped."""
    found = list(load(layout, path))
    layers = {digest(data): name for name, data in LAYERS.items()}
    images = {}
    for one in found:
        if isinstance(one, Loaded):
            for name in one.names or [one.image.id]:
                images[getattr(name, "familiar", "")] = layers[one.image.layers[0].diff_id]
    return images, [one for one in found if isinstance(one, Skipped)]


def test_every_name_is_loaded_although_every_descriptor_has_a_platform(layout: Layout, tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    path = write(tmp_path, members, image(members, "a", "one", AMD64), image(members, "b", "two:2", AMD64))
    assert loaded(layout, path) == ({"one:latest": "a", "two:2": "b"}, [])


def test_the_platform_is_chosen_for_each_name(layout: Layout, tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    path = write(
        tmp_path,
        members,
        image(members, "a", "one", ARM64),
        image(members, "b", "one", AMD64),
        image(members, "c", "two", AMD64),
        image(members, "d", "two", ARM64),
    )
    assert loaded(layout, path) == ({"one:latest": "b", "two:latest": "c"}, [])


def test_descriptors_without_a_name_and_with_platforms_are_one_image(layout: Layout, tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    path = write(tmp_path, members, image(members, "a", "", ARM64), image(members, "b", "", AMD64))
    assert loaded(layout, path) == ({"": "b"}, [])


def test_of_one_name_and_no_platforms_the_configs_say_which(layout: Layout, tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    foreign = {
        "schemaVersion": 2,
        "config": add_blob(
            members,
            config([LAYERS["a"]]).replace(b'"amd64"', b'"arm64"'),
            "application/vnd.oci.image.config.v1+json",
        ),
        "layers": [add_blob(members, LAYERS["a"], "application/vnd.oci.image.layer.v1.tar")],
    }
    descriptor = add_blob(members, json.dumps(foreign).encode(), MANIFEST) | {"annotations": {REF: "one"}}
    path = write(tmp_path, members, descriptor, image(members, "b", "one"))
    assert loaded(layout, path) == ({"one:latest": "b"}, [])


def test_the_best_variant_that_the_processor_runs_is_taken(layout: Layout, tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    variants = [
        image(members, layer, "", AMD64 | variant)
        for layer, variant in (("a", {}), ("b", {"variant": "v2"}), ("c", {"variant": "v3"}), ("d", {"variant": "v4"}))
    ]
    index = add_blob(members, json.dumps({"manifests": variants}).encode(), INDEX) | {"annotations": {REF: "one"}}
    assert loaded(layout, write(tmp_path, members, index)) == ({"one:latest": "c"}, [])


def test_two_names_of_one_image(layout: Layout, tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    path = write(tmp_path, members, image(members, "a", "one", AMD64), image(members, "a", "two", AMD64))
    assert loaded(layout, path) == ({"one:latest": "a", "two:latest": "a"}, [])


def test_a_name_without_an_image_for_this_machine_is_skipped(layout: Layout, tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    foreign = [image(members, "b", "", ARM64), image(members, "c", "", {"os": "linux", "architecture": "s390x"})]
    index = add_blob(members, json.dumps({"manifests": foreign}).encode(), INDEX) | {"annotations": {REF: "two"}}
    images, [skipped] = loaded(layout, write(tmp_path, members, image(members, "a", "one"), index))
    assert images == {"one:latest": "a"}
    assert skipped.name == "two"
    assert "linux/arm64, linux/s390x" in skipped.reason


def test_a_single_foreign_image_is_loaded(layout: Layout, tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    assert loaded(layout, write(tmp_path, members, image(members, "a", "one", ARM64))) == ({"one:latest": "a"}, [])


ARTIFACTS: dict[str, dict[str, Any]] = {
    "of the empty type": {},
    "by its type": {"artifactType": "application/spdx+json"},
    "a chart": {"config": {"mediaType": "application/vnd.cncf.helm.config.v1+json"}},
    "a signature": {
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json"},
        "layers": [{"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json"}],
    },
}


@pytest.mark.parametrize("name", ARTIFACTS)
@pytest.mark.parametrize("first", [False, True])
def test_artifacts_are_skipped_with_a_note(layout: Layout, tmp_path: Path, name: str, first: bool) -> None:
    members: dict[str, bytes] = {}
    blob = add_blob(members, b"{}", "")
    changes = json.loads(json.dumps(ARTIFACTS[name]))
    for descriptor in [changes.get("config"), *changes.get("layers", ())]:
        if descriptor:
            descriptor |= {key: value for key, value in blob.items() if key != "mediaType"}
    both = [artifact(members, **changes), image(members, "a", "one", AMD64)]
    images, [skipped] = loaded(layout, write(tmp_path, members, *(both if first else both[::-1])))
    assert images == {"one:latest": "a"}
    assert "artifact" in skipped.reason


def test_an_archive_of_artifacts_alone_is_refused(layout: Layout, tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    path = write(tmp_path, members, artifact(members, artifactType="application/spdx+json"))
    with pytest.raises(MinirunError, match="application/spdx") as caught:
        loaded(layout, path)
    assert caught.value.exit_code == 1
    assert not list((tmp_path / "root").rglob("*.json"))


def test_indexes_that_multiply_are_refused(layout: Layout, tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    descriptor = image(members, "a")
    for _ in range(7):
        inner = {"manifests": [descriptor] * 100}
        descriptor = add_blob(members, json.dumps(inner).encode(), INDEX)
    with pytest.raises(MinirunError, match="too many manifests"):
        loaded(layout, write(tmp_path, members, descriptor))


def test_skopeos_directory_of_all_platforms(layout: Layout, tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    inner = {"manifests": [image(members, "a", "", ARM64), image(members, "b", "", AMD64)]}
    flat = {name.rpartition("/")[2]: data for name, data in members.items()}
    for descriptor in inner["manifests"]:
        flat[f"{descriptor['digest'][7:]}.manifest.json"] = flat.pop(descriptor["digest"][7:])
    flat["manifest.json"] = json.dumps(inner).encode()
    assert loaded(layout, str(write_directory(flat, tmp_path / "directory"))) == ({"": "b"}, [])


# -- what other programs write -----------------------------------------------------------------------------------------
def skopeo(*arguments: str | Path) -> None:
    subprocess.run(["skopeo", "--insecure-policy", *arguments], check=True, capture_output=True)


def test_what_skopeo_puts_into_one_layout(layout: Layout, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(files(docker_archive([LAYERS[name]], f"{name}:1")))
        skopeo("copy", f"docker-archive:{tmp_path / name}", f"oci:{tmp_path / 'both'}:{name}:1")
    assert loaded(layout, str(tmp_path / "both")) == ({"a:1": "a", "b:1": "b"}, [])


def test_what_buildah_pushes_as_a_manifest_list(layout: Layout, tmp_path: Path) -> None:
    storage = ["--root", str(tmp_path / "storage"), "--runroot", str(tmp_path / "run"), "--storage-driver", "vfs"]

    def buildah(*arguments: str) -> None:
        subprocess.run(["buildah", *storage, *arguments], check=True, capture_output=True)

    buildah("manifest", "create", "many")
    for name, architecture in (("a", "arm64"), ("b", "amd64")):
        (tmp_path / name).write_bytes(files(docker_archive([LAYERS[name]], f"{name}:1")))
        skopeo("copy", f"docker-archive:{tmp_path / name}", f"oci:{tmp_path / name}-oci:{name}")
        source = f"oci:{tmp_path / name}-oci:{name}"
        buildah("manifest", "add", "--os", "linux", "--arch", architecture, "many", source)
    buildah("manifest", "push", "--all", "many", f"oci:{tmp_path / 'many'}:many:1")
    assert loaded(layout, str(tmp_path / "many")) == ({"many:1": "b"}, [])
