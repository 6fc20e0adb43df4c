"""`-v`, `--mount` and `--tmpfs`: what they say, as Docker reads them."""

from __future__ import annotations

import os
import re

from minirun.engine.sizes import parse_size
from minirun.errors import MinirunError
from minirun.model.container import VolumeMount

_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
PROPAGATION = frozenset({"shared", "rshared", "slave", "rslave", "private", "rprivate"})
_CONSISTENCY = frozenset({"consistent", "cached", "delegated"})  # for Docker Desktop's file sharing; no meaning here
_LABEL = frozenset({"z", "Z"})  # SELinux relabelling; without SELinux there is nothing to do
_TMPFS_WORDS = frozenset(
    "ro rw suid nosuid dev nodev exec noexec sync async dirsync atime noatime diratime nodiratime relatime norelatime "
    "strictatime nostrictatime remount mand nomand bind rbind unbindable runbindable private rprivate shared rshared "
    "slave rslave".split()
)
_TMPFS_KEYS = frozenset({"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"})
_TRUE = frozenset({"", "1", "t", "true"})
_FALSE = frozenset({"0", "f", "false"})


def parse_volume(text: str, directory: str) -> VolumeMount:
    """Read `-v [SOURCE:]TARGET[:MODE]`; a source that starts with a dot is relative to `directory`.

    Raises MinirunError.
    """
    parts = text.split(":")
    if len(parts) > 3 or "" in parts:
        raise MinirunError(f"invalid volume specification: '{text}'", "Write SOURCE:TARGET or SOURCE:TARGET:ro.")
    if len(parts) == 1:
        return VolumeMount("volume", checked_target(parts[0], text))
    source, target = parts[0], checked_target(parts[1], text)
    modes = parts[2].split(",") if len(parts) == 3 else []
    is_path = source.startswith(("/", "."))
    _check_modes(modes, text, is_path=is_path)
    read_only = "ro" in modes
    if is_path:
        host_path = os.path.normpath(os.path.join(directory, source))
        propagation = tuple(mode for mode in modes if mode in PROPAGATION)
        _not_to_the_host("".join(propagation))
        return VolumeMount("bind", target, host_path, read_only, create_source=True, options=propagation)
    return VolumeMount("volume", target, _volume_name(source, text), read_only, copy_up="nocopy" not in modes)


def parse_mount(text: str) -> VolumeMount:
    """Read `--mount type=bind,source=/a,target=/b,readonly`. Raises MinirunError."""
    import csv

    try:
        fields = next(csv.reader([text]), [])
    except csv.Error as error:
        raise MinirunError(f"invalid --mount: {error}") from error
    values: dict[str, str] = {}
    for field in fields:
        key, equals, value = field.partition("=")
        name = _MOUNT_KEYS.get(key.strip().lower())
        if name is None:
            raise MinirunError(f"invalid --mount: unexpected key '{key}' in '{field}'")
        if not equals and name not in _MOUNT_SWITCHES:
            raise MinirunError(f"invalid --mount: field '{field}' must be a key=value pair")
        values[name] = value
    kind = values.get("type", "volume").lower()
    if kind not in _MOUNT_TYPES:
        raise MinirunError(f"invalid --mount: mount type '{kind}' is not one of bind, volume, tmpfs")
    for name in values:
        owner = name.partition("-")[0]
        if owner in _MOUNT_TYPES and owner != kind:
            raise MinirunError(f"invalid --mount: cannot mix '{name}' with mount type '{kind}'")
    if "target" not in values:
        raise MinirunError("invalid --mount: target is required")
    target = checked_target(values["target"], text)
    read_only = _switch(values, "readonly")
    source = values.get("source", "")
    if kind == "bind":
        return VolumeMount("bind", target, _bind_source(source), read_only=read_only, options=_bind_options(values))
    if kind == "tmpfs":
        if source:
            raise MinirunError("invalid --mount: a tmpfs mount has no source")
        return VolumeMount("tmpfs", target, options=_tmpfs_mount_options(values, read_only=read_only))
    name = _volume_name(source, text) if source else ""
    return VolumeMount("volume", target, name, read_only=read_only, copy_up=not _switch(values, "volume-nocopy"))


def parse_tmpfs(text: str) -> VolumeMount:
    """Read `--tmpfs TARGET[:OPTIONS]`. Raises MinirunError."""
    target, _, options = text.partition(":")
    words = tuple(word for word in options.split(",") if word)
    for word in words:
        key, equals, value = word.partition("=")
        if (key not in _TMPFS_KEYS or not value) if equals else key not in _TMPFS_WORDS:
            raise MinirunError(f"invalid tmpfs option '{word}'", "See tmpfs(5), for example size=64m,mode=1777,exec.")
    return VolumeMount("tmpfs", checked_target(target, text), options=words)


def check_targets(mounts: tuple[VolumeMount, ...]) -> None:
    """Refuse two mounts on one place."""
    seen = set()
    for mount in mounts:
        if mount.target in seen:
            raise MinirunError(f"duplicate mount point: {mount.target}")
        seen.add(mount.target)


_MOUNT_TYPES = frozenset({"bind", "volume", "tmpfs"})
_MOUNT_KEYS = {
    "type": "type",
    "source": "source",
    "src": "source",
    "target": "target",
    "destination": "target",
    "dst": "target",
    "readonly": "readonly",
    "ro": "readonly",
    "consistency": "consistency",
    "bind-propagation": "bind-propagation",
    "bind-recursive": "bind-recursive",
    "bind-nonrecursive": "bind-nonrecursive",
    "volume-nocopy": "volume-nocopy",
    "tmpfs-size": "tmpfs-size",
    "tmpfs-mode": "tmpfs-mode",
}
_MOUNT_SWITCHES = frozenset({"readonly", "volume-nocopy", "bind-nonrecursive"})


def _switch(values: dict[str, str], name: str) -> bool:
    value = values.get(name)
    if value is None or value.lower() in _FALSE:
        return False
    if value.lower() in _TRUE:
        return True
    raise MinirunError(f"invalid --mount: invalid value for {name}: {value}")


def _bind_source(source: str) -> str:
    if not source:
        raise MinirunError("invalid --mount: a bind mount needs a source")
    return os.path.abspath(source)


def _bind_options(values: dict[str, str]) -> tuple[str, ...]:
    """Return the bind's options: its propagation, and "bind" where submounts are not to come along."""
    propagation = values.get("bind-propagation", "")
    if propagation and propagation not in PROPAGATION:
        raise MinirunError(f"invalid --mount: invalid propagation value: {propagation}")
    _not_to_the_host(propagation)
    recursive = values.get("bind-recursive", "enabled")
    if recursive not in ("enabled", "disabled"):
        raise MinirunError(f"invalid --mount: bind-recursive={recursive} is not built yet", "Use enabled or disabled.")
    alone = recursive == "disabled" or _switch(values, "bind-nonrecursive")
    return (*((propagation,) if propagation else ()), *(("bind",) if alone else ()))


def _tmpfs_mount_options(values: dict[str, str], *, read_only: bool) -> tuple[str, ...]:
    options = ["ro"] if read_only else []
    if "tmpfs-mode" in values:
        if not re.fullmatch("[0-7]{1,5}", values["tmpfs-mode"]):
            raise MinirunError(f"invalid --mount: invalid value for tmpfs-mode: {values['tmpfs-mode']}")
        options.append(f"mode={values['tmpfs-mode']}")
    if "tmpfs-size" in values:
        options.append(f"size={parse_size(values['tmpfs-size'])}")
    return tuple(options)


def _not_to_the_host(propagation: str) -> None:
    if propagation in ("shared", "rshared"):
        raise MinirunError(
            f"mount propagation '{propagation}' is not supported: a container's mounts never reach the host",
            "Use rslave to let the host's new mounts into the container.",
        )


def checked_target(target: str, text: str) -> str:
    """Return where a mount goes, normalised; `text` is what asked for it. Raises MinirunError."""
    if not target.startswith("/"):
        raise MinirunError(f"invalid mount '{text}': the mount path '{target}' must be absolute")
    normal = "/" + os.path.normpath(target).lstrip("/")
    if normal == "/":
        raise MinirunError(f"invalid mount '{text}': the destination can't be '/'")
    return normal


def _volume_name(name: str, text: str) -> str:
    if not _VOLUME_NAME.fullmatch(name):
        raise MinirunError(
            f"invalid mount '{text}': '{name}' is no volume name ([a-zA-Z0-9][a-zA-Z0-9_.-]+)",
            "To mount a directory of the host, write its absolute path, or ./ before it.",
        )
    return name


def _check_modes(modes: list[str], text: str, *, is_path: bool) -> None:
    kinds = [{"ro", "rw"}, _LABEL, _CONSISTENCY, PROPAGATION if is_path else {"nocopy"}]
    for kind in kinds:
        if sum(mode in kind for mode in modes) > 1:
            raise MinirunError(f"invalid mode: {','.join(modes)} in '{text}'")
    for mode in modes:
        if not any(mode in kind for kind in kinds):
            raise MinirunError(f"invalid mode: {mode} in '{text}'", "Use ro or rw.")
