"""`--mount type=...,source=...,target=...`: its fields, as Docker reads them."""

from __future__ import annotations

import os
import re

from minirun.engine.request.mount_flags import PROPAGATION, checked_target, wrong_config
from minirun.engine.sizes import parse_size
from minirun.engine.volume.checks import check_driver, check_name, check_options
from minirun.errors import MinirunError
from minirun.model.container import VolumeMount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_TYPES = ("bind", "image", "tmpfs", "volume")
_KEYS = {
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
    "bind-create-src": "bind-create-src",
    "volume-nocopy": "volume-nocopy",
    "volume-subpath": "volume-subpath",
    "volume-label": "volume-label",
    "volume-driver": "volume-driver",
    "volume-opt": "volume-opt",
    "image-subpath": "image-subpath",
    "tmpfs-size": "tmpfs-size",
    "tmpfs-mode": "tmpfs-mode",
}
_SWITCHES = frozenset({"readonly", "volume-nocopy", "bind-nonrecursive", "bind-create-src"})
_SEVERAL = frozenset({"volume-label", "volume-opt"})
_TRUE = frozenset({"", "1", "t", "true"})
_FALSE = frozenset({"0", "f", "false"})
_ANONYMOUS = "a volume without a name"
_RECURSIVE = ("enabled", "disabled", "writable", "readonly")


class _Fields:
    """The fields of one --mount, by their proper names."""

    def __init__(self, text: str) -> None:
        import csv

        self.values: dict[str, str] = {}
        self.several: dict[str, dict[str, str]] = {key: {} for key in _SEVERAL}
        try:
            fields = next(csv.reader([text]), [])
        except csv.Error as error:
            raise _wrong(str(error)) from error
        for field in fields:
            key, equals, value = field.partition("=")
            name = _KEYS.get(key.strip().lower())
            if name is None and (equals or not field):
                raise _wrong(f"unexpected key '{key}' in '{field}'" if field else "a field is empty")
            if name is None or (not equals and name not in _SWITCHES):
                raise _wrong(f"invalid field '{field}' must be a key=value pair")
            if name in _SEVERAL:
                inner, _, text_of_it = value.partition("=")
                self.several[name][inner] = text_of_it
            self.values[name] = value

    def switch(self, name: str) -> bool:
        """Say whether a field without a value, or with one that means yes, is there. Raises MinirunError."""
        value = self.values.get(name)
        if value is None or value.lower() in _FALSE:
            return False
        if value.lower() in _TRUE:
            return True
        raise _wrong(f"invalid value for {name}: {value}")

    def text(self, name: str) -> str:
        """Return the value of a field, "" if it is not there."""
        return self.values.get(name, "")


def parse_mount(text: str) -> VolumeMount:
    """Read `--mount type=bind,source=/a,target=/b,readonly`. Raises MinirunError."""
    fields = _Fields(text)
    kind = fields.values.get("type", "volume").lower()
    if kind not in _TYPES:
        raise wrong_config(kind, "mount type unknown", hint=f"It is one of {', '.join(_TYPES)}.")
    for name in fields.values:
        owner = name.partition("-")[0]
        if owner in _TYPES and owner != kind:
            raise _wrong(f"cannot mix '{owner}-*' options with mount type '{kind}'")
    if not fields.text("target"):
        raise _wrong("target is required")
    target = checked_target(fields.text("target"), kind)
    mount = VolumeMount(
        kind,
        target,
        fields.text("source"),
        read_only=fields.switch("readonly"),
        copy_up=kind == "volume",
        flag="--mount",
    )
    return _READERS[kind](fields, mount)


def _bind(fields: _Fields, mount: VolumeMount) -> VolumeMount:
    if not mount.source:
        raise wrong_config("bind", "field Source must not be empty")
    if not mount.source.startswith(("/", ".")):
        raise wrong_config(
            "bind",
            f"invalid mount path: '{mount.source}' mount path must be absolute",
            hint="To mount a directory of this one, write ./ before it.",
        )
    return mount.replace(
        source=os.path.abspath(mount.source),
        copy_up=True,
        create_source=fields.switch("bind-create-src"),
        options=_bind_options(fields, read_only=mount.read_only),
    )


def _bind_options(fields: _Fields, *, read_only: bool) -> tuple[str, ...]:
    """Return the bind's options: its propagation, and what is to become of the mounts below its source."""
    propagation = fields.text("bind-propagation")
    if propagation and propagation not in PROPAGATION:
        raise wrong_config("bind", f"invalid propagation mode: {propagation}")
    recursive = fields.values.get("bind-recursive", "enabled")
    if recursive not in _RECURSIVE:
        raise _wrong(
            f'invalid value for bind-recursive: {recursive} (must be "enabled", "disabled", "writable", or "readonly")'
        )
    if recursive in ("writable", "readonly") and not read_only:
        raise _wrong(f"option 'bind-recursive={recursive}' requires 'readonly' to be specified in conjunction")
    if recursive == "readonly" and propagation != "rprivate":
        raise _wrong(
            "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction"
        )
    alone = recursive == "disabled" or fields.switch("bind-nonrecursive")
    below = ["rw-below"] if recursive == "writable" else []
    return (*([propagation] if propagation else []), *(["bind"] if alone else []), *below)


def _tmpfs(fields: _Fields, mount: VolumeMount) -> VolumeMount:
    if mount.source:
        raise wrong_config("tmpfs", "field Source must not be specified")
    options = ["ro"] if mount.read_only else []
    if "tmpfs-mode" in fields.values:
        if not re.fullmatch("[0-7]{1,5}", fields.text("tmpfs-mode")):
            raise _wrong(f"invalid value for tmpfs-mode: {fields.text('tmpfs-mode')}")
        options.append(f"mode={fields.text('tmpfs-mode')}")
    if "tmpfs-size" in fields.values:
        try:
            options.append(f"size={parse_size(fields.text('tmpfs-size'))}")
        except MinirunError as error:
            raise _wrong(f"invalid value for tmpfs-size: {fields.text('tmpfs-size')}") from error
    return mount.replace(read_only=False, copy_up=True, options=tuple(options))


def _volume(fields: _Fields, mount: VolumeMount) -> VolumeMount:
    if mount.source:
        check_name(mount.source)
    check_driver(mount.source or _ANONYMOUS, fields.text("volume-driver"))
    options = fields.several["volume-opt"]
    check_options(mount.source or _ANONYMOUS, options)
    return mount.replace(
        copy_up=not fields.switch("volume-nocopy"),
        subpath=_subpath(fields.text("volume-subpath")),
        labels=fields.several["volume-label"],
        driver_options=options,
    )


def _image(fields: _Fields, mount: VolumeMount) -> VolumeMount:
    if not mount.source:
        raise wrong_config("image", "field Source must not be empty")
    return mount.replace(read_only=True, subpath=_subpath(fields.text("image-subpath")))


def _subpath(path: str) -> str:
    """Return a path inside of a volume, normalised. Raises MinirunError for one that leads out of it."""
    normal = os.path.normpath(path) if path else ""
    if normal.startswith("/") or f"{normal}/".startswith("../"):
        raise MinirunError(
            f"invalid subpath '{path}': it must be a relative path inside of what is mounted", "Leave out / and .. ."
        )
    return "" if normal == "." else normal


_READERS: dict[str, Callable[[_Fields, VolumeMount], VolumeMount]] = {
    "bind": _bind,
    "image": _image,
    "tmpfs": _tmpfs,
    "volume": _volume,
}


def _wrong(problem: str) -> MinirunError:
    return MinirunError(f"invalid --mount: {problem}")
