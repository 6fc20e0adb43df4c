"""Small image archives in every layout that other programs write, made by code so that a test can break any byte."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import zstandard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

PLATFORM = {"architecture": "amd64", "os": "linux"}
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
}


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def entry(
    name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, **fields: Any
) -> tuple[tarfile.TarInfo, bytes]:
    """One member; `fields` are TarInfo's, such as mode, uid, mtime, linkname, pax_headers."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(content)
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def tar(*entries: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of these members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def files(members: dict[str, bytes]) -> bytes:
    """A tar of plain files."""
    return tar(*(entry(name, content) for name, content in members.items()))


def config(layers: Iterable[bytes], **settings: Any) -> bytes:
    """An image's config whose diff_ids are those of the plain tars `layers`; `settings` are its "config"."""
    layers = list(layers)
    document = {
        **PLATFORM,
        "created": "2024-05-01T12:00:00Z",
        "config": {"Cmd": ["/bin/sh"], **settings},
        "history": [{"created": "2024-05-01T12:00:00Z", "created_by": f"step {i}"} for i in range(len(layers))],
        "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
    }
    return json.dumps(document).encode()


def docker_archive(layers: list[bytes], *tags: str, compression: str = "", **settings: Any) -> dict[str, bytes]:
    """What `docker save` wrote before version 25."""
    image_config = config(layers, **settings)
    members = {}
    names = []
    for layer in layers:
        name = f"{hashlib.sha256(b'id' + layer).hexdigest()}/layer.tar"
        members[name] = COMPRESSORS[compression](layer)
        names.append(name)
    config_name = f"{digest(image_config)[7:]}.json"
    members[config_name] = image_config
    manifest = [{"Config": config_name, "RepoTags": list(tags) or None, "Layers": names}]
    members["manifest.json"] = json.dumps(manifest).encode()
    return members


def oci_layout(
    layers: list[bytes],
    name: str = "",
    compression: str = "gzip",
    annotation: str = "org.opencontainers.image.ref.name",
    **settings: Any,
) -> dict[str, bytes]:
    """What `skopeo copy ... oci:` and `podman save --format oci-archive` write."""
    members: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
    manifest = oci_manifest(members, layers, compression, **settings)
    if name:
        manifest["annotations"] = {annotation: name}
    members["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode()
    return members


def oci_manifest(members: dict[str, bytes], layers: list[bytes], compression: str, **settings: Any) -> dict[str, Any]:
    """Add an image's blobs to `members` and return the descriptor of its manifest."""
    kind = "application/vnd.oci.image.layer.v1.tar" + (f"+{compression}" if compression else "")
    blobs = [add_blob(members, COMPRESSORS[compression](layer), kind) for layer in layers]
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": add_blob(members, config(layers, **settings), "application/vnd.oci.image.config.v1+json"),
        "layers": blobs,
    }
    return add_blob(members, json.dumps(manifest).encode(), str(manifest["mediaType"]))


def add_blob(members: dict[str, bytes], data: bytes, media_type: str) -> dict[str, Any]:
    """Put a blob into an OCI layout and return its descriptor."""
    members[f"blobs/sha256/{digest(data)[7:]}"] = data
    return {"mediaType": media_type, "digest": digest(data), "size": len(data)}


def docker_25_archive(layers: list[bytes], tag: str) -> dict[str, bytes]:
    """What `docker save` writes since version 25: an OCI layout with the old manifest.json beside it."""
    members = oci_layout(layers, tag, "", "io.containerd.image.name")
    image_config = config(layers)
    manifest = [
        {
            "Config": f"blobs/sha256/{digest(image_config)[7:]}",
            "RepoTags": [tag],
            "Layers": [f"blobs/sha256/{digest(layer)[7:]}" for layer in layers],
        }
    ]
    members["manifest.json"] = json.dumps(manifest).encode()
    return members


def skopeo_dir(layers: list[bytes]) -> dict[str, bytes]:
    """What `skopeo copy ... dir:` writes."""
    members: dict[str, bytes] = {}
    manifest = oci_manifest(members, layers, "gzip")
    flat = {name.rpartition("/")[2]: data for name, data in members.items()}
    flat["manifest.json"] = flat.pop(manifest["digest"][7:])
    flat["version"] = b"Directory Transport Version: 1.1\n"
    return flat


def write_directory(members: dict[str, bytes], directory: Path) -> Path:
    """Write members as files."""
    for name, data in members.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return directory
