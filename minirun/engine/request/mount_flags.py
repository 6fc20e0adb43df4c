"""`-v` and `--tmpfs`: what they say, as Docker reads them. `--mount` is in mount_fields."""

from __future__ import annotations

import os

from minirun.engine.volume.checks import check_name
from minirun.errors import MinirunError
from minirun.model.container import VolumeMount

PROPAGATION = frozenset({"shared", "rshared", "slave", "rslave", "private", "rprivate"})
_CONSISTENCY = frozenset({"consistent", "cached", "delegated"})  # for Docker Desktop's file sharing; no meaning here
LABEL = frozenset({"z", "Z"})  # SELinux relabelling
_OWN = frozenset({"U"})  # of Podman
_TMPFS_WORDS = frozenset(
    "ro rw suid nosuid dev nodev exec noexec sync async dirsync atime noatime diratime nodiratime relatime norelatime "
    "strictatime nostrictatime remount mand nomand bind rbind unbindable runbindable private rprivate shared rshared "
    "slave rslave".split()
)
_TMPFS_KEYS = frozenset({"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"})


def parse_volume(text: str, directory: str) -> VolumeMount:
    """Read `-v [SOURCE:]TARGET[:MODE]`; a source that starts with a dot is relative to `directory`.

    Raises MinirunError.
    """
    parts = text.split(":")
    if "" in parts:
        raise MinirunError(f"invalid spec: {text}: empty section between colons", "Write SOURCE:TARGET[:MODE].")
    if len(parts) > 3:
        raise MinirunError(f"invalid volume specification: '{text}'", "Write SOURCE:TARGET or SOURCE:TARGET:ro.")
    if len(parts) == 1:
        return VolumeMount("volume", checked_target(parts[0], "volume", text), flag="-v")
    source = parts[0]
    is_path = source.startswith(("/", "."))
    mode = parts[2] if len(parts) == 3 else ""
    modes = mode.split(",") if mode else []
    _check_modes(modes, text, is_path=is_path)
    target = checked_target(parts[1], "bind" if is_path else "volume", text)
    mount = VolumeMount(
        "volume",
        target,
        source,
        read_only="ro" in modes,
        copy_up="nocopy" not in modes,
        own="U" in modes,
        flag="-v",
        mode=mode,
    )
    if not is_path:
        check_name(source)
        return mount
    host_path = os.path.normpath(os.path.join(directory, source))
    propagation = tuple(mode for mode in modes if mode in PROPAGATION)
    return mount.replace(kind="bind", source=host_path, create_source=True, options=propagation)


def parse_tmpfs(text: str) -> VolumeMount:
    """Read `--tmpfs TARGET[:OPTIONS]`. Raises MinirunError."""
    target, _, options = text.partition(":")
    words = tuple(word for word in options.split(",") if word)
    for word in words:
        key, equals, value = word.partition("=")
        if (key not in _TMPFS_KEYS or not value) if equals else key not in _TMPFS_WORDS:
            raise MinirunError(f"invalid tmpfs option '{word}'", "See tmpfs(5), for example size=64m,mode=1777,exec.")
    return VolumeMount("tmpfs", checked_target(target, "tmpfs"), options=words, flag="--tmpfs")


def checked_target(target: str, kind: str, text: str = "") -> str:
    """Return where a mount goes, normalised; `kind` is that of the mount, `text` the -v that asked for it, if one did.

    Raises MinirunError.
    """
    if not target.startswith("/"):
        raise wrong_config(kind, f"invalid mount path: '{target}' mount path must be absolute", text)
    normal = "/" + os.path.normpath(target).lstrip("/")
    if normal == "/":
        raise wrong_config(kind, "invalid specification: destination can't be '/'", text)
    return normal


def wrong_config(kind: str, problem: str, text: str = "", hint: str = "") -> MinirunError:
    """Return the error for a mount that cannot be, as Docker words it."""
    place = f"invalid volume specification: '{text}': " if text else ""
    return MinirunError(f'{place}invalid mount config for type "{kind}": {problem}', hint)


def _check_modes(modes: list[str], text: str, *, is_path: bool) -> None:
    kinds = [{"ro", "rw"}, LABEL, _CONSISTENCY, _OWN, PROPAGATION, {"nocopy"}]
    several = any(sum(mode in kind for mode in modes) > 1 for kind in kinds)
    if several or not set(modes) <= set().union(*kinds):
        raise MinirunError(f"invalid mode: {','.join(modes)}", f"In '{text}' use ro or rw.")
    if is_path and "nocopy" in modes:
        raise wrong_config("bind", "field VolumeOptions must not be specified", text, "A bind is never filled.")
    if not is_path and not PROPAGATION.isdisjoint(modes):
        raise wrong_config("volume", "field BindOptions must not be specified", text, "Only binds have a propagation.")
