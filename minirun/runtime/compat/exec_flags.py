"""What `exec` runs: a process from a file, or the container's own with changes."""

from __future__ import annotations

import os

from minirun.errors import MinirunError
from minirun.model import jsontext
from minirun.model.spec import Capabilities, process_from_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minirun.model.spec import Process, Spec


def process_of(changes: dict[str, Any], spec: Spec) -> Process:
    """Return the process that the flags of `exec` describe, by their names. Raises MinirunError."""
    if changes.get("process"):
        with open(changes["process"], encoding="utf-8") as file:
            try:
                return process_from_json(jsontext.loads(file.read()))
            except ValueError as error:
                raise MinirunError(f"{changes['process']} is not JSON: {error}") from None
    if not changes["args"]:
        raise MinirunError("exec needs a command, or --process with a file")
    if spec.process is None:
        raise MinirunError("the container's config.json has no process to start from")
    process = spec.process.replace(args=tuple(changes["args"]), terminal=changes.get("tty", False))
    if changes.get("cwd"):
        process = process.replace(cwd=os.path.normpath(changes["cwd"]))
    if changes.get("env"):
        process = process.replace(env=(*process.env, *changes["env"]))
    if changes.get("user"):
        uid, _, gid = changes["user"].partition(":")
        process = process.replace(uid=_id(uid), gid=_id(gid) if gid else process.gid)
    if changes.get("additional-gids"):
        process = process.replace(additional_gids=tuple(_id(gid) for gid in changes["additional-gids"]))
    if changes.get("apparmor"):
        process = process.replace(apparmor_profile=changes["apparmor"])
    if changes.get("process-label"):
        process = process.replace(selinux_label=changes["process-label"])
    if changes.get("no-new-privs"):
        process = process.replace(no_new_privileges=True)
    if changes.get("cap"):
        process = process.replace(capabilities=_with_capabilities(process.capabilities, tuple(changes["cap"])))
    return process


def _id(text: str) -> int:
    if not text.isdigit():
        raise MinirunError(f"invalid user or group '{text}'", "Write numbers: UID[:GID].")
    return int(text)


def _with_capabilities(sets: Capabilities | None, added: tuple[str, ...]) -> Capabilities:
    """Add to every set but the inheritable one, which would let a program file grant more (CVE-2022-29162).

    Where the container has inheritable capabilities, what is added becomes ambient as far as it is one of them.
    """
    before = sets or Capabilities()
    names = ["bounding", "effective", "permitted", *(["ambient"] if before.inheritable else [])]
    return before.replace(**{name: (*getattr(before, name), *added) for name in names})
