"""A container's view of its layers: what overlayfs is asked to stack."""

from __future__ import annotations

from minirun.model.record import Record


class Snapshot(Record):
    """An overlayfs mount that is yet to be made.

    `lowers` are directory names relative to `directory`, topmost layer first (short names, because mount(2) takes at
    most a page of options and 127 layers must fit); `upper` and `work` are absolute paths on one file system;
    `target` is the directory to mount on.
    """

    directory: str
    lowers: tuple[str, ...]
    upper: str
    work: str
    target: str
