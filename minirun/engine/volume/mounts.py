"""What `inspect` says of a container's mounts, in Docker's fields."""

from __future__ import annotations

from minirun.kernel.mount import PROPAGATION
from minirun.storage.volumes import records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from minirun.model.container import VolumeMount
    from minirun.model.layout import Layout


def points(layout: Layout, mounts: Iterable[VolumeMount]) -> list[dict[str, Any]]:
    """Return "Mounts": what is mounted, and from where; --tmpfs has a field of its own."""
    return [_point(layout, mount) for mount in mounts if mount.flag != "--tmpfs"]


def _point(layout: Layout, mount: VolumeMount) -> dict[str, Any]:
    document: dict[str, Any] = {"Type": mount.kind}
    mode = mount.mode
    if mount.kind == "volume":
        named = mount.flag == "--mount" or (mount.flag == "-v" and not mount.bare)
        document |= {
            "Name": mount.source,
            "Source": records.data_directory(layout, mount.source),
            "Destination": mount.target,
            "Driver": "local",
        }
        mode = mode or ("z" if named else "")
    else:
        document |= {"Source": mount.source, "Destination": mount.target}
    propagation = next((word for word in mount.options if word in PROPAGATION), "rprivate")
    return document | {
        "Mode": mode,
        "RW": not mount.read_only and "ro" not in mount.options,
        "Propagation": propagation if mount.kind == "bind" else "",
    }


def asked_for(mounts: Iterable[VolumeMount]) -> dict[str, Any]:
    """Return the fields of "HostConfig" about mounts, by the flags that asked for them."""
    mounts = tuple(mounts)
    binds = [_bind_text(mount) for mount in mounts if mount.flag == "-v" and not mount.bare]
    return {
        "Binds": binds or None,
        "Mounts": [_long(mount) for mount in mounts if mount.flag == "--mount"] or None,
        "Tmpfs": {mount.target: ",".join(mount.options) for mount in mounts if mount.flag == "--tmpfs"} or None,
    }


def anonymous(mounts: Iterable[VolumeMount], of_image: Iterable[str]) -> dict[str, dict[str, Any]] | None:
    """Return the field "Volumes" of "Config": the targets of -v without a name, and of the image's VOLUME."""
    asked = [mount.target for mount in mounts if mount.flag == "-v" and mount.bare]
    return {target: {} for target in (*asked, *of_image)} or None


def _bind_text(mount: VolumeMount) -> str:
    return ":".join(part for part in (mount.source, mount.target, mount.mode) if part)


def _long(mount: VolumeMount) -> dict[str, Any]:
    """Return a --mount as Docker's API has it."""
    source = "" if mount.bare else mount.source
    document: dict[str, Any] = {"Type": mount.kind} | ({"Source": source} if source else {}) | {"Target": mount.target}
    if mount.read_only or "ro" in mount.options:
        document["ReadOnly"] = True
    if options := _OPTIONS[mount.kind](mount):
        document[f"{mount.kind.capitalize()}Options"] = options
    return document


def _bind_options(mount: VolumeMount) -> dict[str, Any]:
    propagation = [word for word in mount.options if word in PROPAGATION]
    switches = {
        "NonRecursive": "bind" in mount.options,
        "CreateMountpoint": mount.create_source,
        "ReadOnlyNonRecursive": "rw-below" in mount.options,
    }
    return ({"Propagation": propagation[0]} if propagation else {}) | {key: on for key, on in switches.items() if on}


def _volume_options(mount: VolumeMount) -> dict[str, Any]:
    fields: dict[str, Any] = {} if mount.copy_up else {"NoCopy": True}
    if mount.labels:
        fields["Labels"] = mount.labels
    if mount.subpath:
        fields["Subpath"] = mount.subpath
    driver = {"Options": mount.driver_options} if mount.driver_options else {}
    return fields | {"DriverConfig": driver} if fields or driver else {}


def _tmpfs_options(mount: VolumeMount) -> dict[str, Any]:
    values = dict(word.partition("=")[::2] for word in mount.options)
    size = {"SizeBytes": int(values["size"])} if values.get("size", "").isdigit() else {}
    return size | ({"Mode": int(values["mode"], 8)} if "mode" in values else {})


def _image_options(mount: VolumeMount) -> dict[str, Any]:
    return {"Subpath": mount.subpath} if mount.subpath else {}


_OPTIONS = {"bind": _bind_options, "volume": _volume_options, "tmpfs": _tmpfs_options, "image": _image_options}
