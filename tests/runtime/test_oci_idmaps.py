"""Idmapped mounts: who seems to own the files of a mount."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from support.oci_bundles import Bundle, Oci


def test_a_mount_with_its_own_mapping(oci: Oci, bundle: Bundle, directory: Path) -> None:
    mapping: dict[str, Any] = {
        field: [{"containerID": 0, "hostID": host, "size": 10}]
        for field, host in (("uidMappings", 5000), ("gidMappings", 6000))
    }
    bundle.mount("/data", directory, ["rbind"], **mapping)
    assert oci.output(bundle, "stat -c %u:%g /data/file") == "5000:6000\n"


def test_a_mount_with_the_mapping_of_the_container(oci: Oci, bundle: Bundle, directory: Path) -> None:
    bundle.map_users().mount("/data", directory, ["rbind", "idmap"]).mount("/plain", directory, ["rbind"])
    script = "stat -c %u:%g /data/file /plain/file && touch /data/made"
    assert oci.output(bundle, script).split() == ["0:0", "65534:65534"]
    assert os.stat(directory / "made").st_uid == 0


def test_ridmap_maps_what_is_below_too(oci: Oci, bundle: Bundle, nested: Path) -> None:
    (nested / "below/file").touch()
    bundle.map_users().mount("/some", nested, ["rbind", "idmap"]).mount("/all", nested, ["rbind", "ridmap"])
    assert oci.output(bundle, "stat -c %u /some/below/file /all/below/file").split() == ["65534", "0"]


def test_mappings_that_cannot_be_meant(oci: Oci, bundle: Bundle, directory: Path) -> None:
    bundle.mount("/data", directory, ["bind", "idmap"])
    assert "idmap needs uidMappings" in oci.refusal(bundle)
    bundle.config["mounts"][-1] |= {"uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}
    assert "both" in oci.refusal(bundle)
    bundle.config["mounts"][-1] |= {"gidMappings": [], "type": "tmpfs", "options": []}
    assert "only bind mounts" in oci.refusal(bundle)


@pytest.mark.parametrize(
    ("option", "owner"),
    [
        ("idmap=uids=0-5000-10;gids=0-6000-10", "5000:6000"),
        ("idmap=gids=0-6000-10;uids=3-9-2#0-5000-1", "5000:6000"),
        ("ridmap=uids=0-5000-10;gids=0-6000-10", "5000:6000"),
    ],
)
def test_a_mapping_among_the_options(oci: Oci, bundle: Bundle, directory: Path, option: str, owner: str) -> None:
    bundle.mount("/data", directory, ["rbind", option])
    assert oci.output(bundle, "stat -c %u:%g /data/file").strip() == owner


def test_a_mapping_to_ids_of_the_container(oci: Oci, bundle: Bundle, directory: Path) -> None:
    bundle.map_users().mount("/data", directory, ["rbind", "idmap=uids=@0-7-1;gids=@0-8-1"])
    assert oci.output(bundle, "stat -c %u:%g /data/file") == "7:8\n"


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("idmap=uids=0-1-1", "both"),
        ("idmap=0-1-1", "is not idmap=uids=...;gids=..."),
        ("idmap=uids=0-1;gids=0-1-1", "'0-1', which is not DISK-HOST-SIZE"),
        ("idmap=uids=@0-1-1;gids=0-1-1", "1 is not mapped in the container"),
    ],
)
def test_a_mapping_of_another_form_is_refused(
    oci: Oci, bundle: Bundle, directory: Path, option: str, words: str
) -> None:
    assert words in oci.refusal(bundle.mount("/data", directory, ["rbind", option]))
