"""The options that change what a container may do: `--security-opt` and `--sysctl`."""

from __future__ import annotations

from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_SYSCTLS = frozenset(
    "kernel.msgmax kernel.msgmnb kernel.msgmni kernel.sem kernel.shmall kernel.shmmax kernel.shmmni "
    "kernel.shm_rmid_forced".split()
)
_SYSCTL_PREFIXES = ("net.", "fs.mqueue.")


def security(texts: tuple[str, ...]) -> dict[str, str]:
    """Read `--security-opt`; a seccomp profile's value is the text of its file. Raises MinirunError."""
    chosen: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator:
            name, separator, value = text.partition(":")
        if name == "no-new-privileges" and (not separator or value in ("true", "false")):
            chosen[name] = value or "true"
        elif name == "seccomp" and value:
            chosen[name] = _seccomp(value)
        elif name == "systempaths" and value == "unconfined":
            chosen[name] = value
        elif name == "apparmor" and value and value != "unconfined":
            raise MinirunError("AppArmor profiles are not built yet", "Use apparmor=unconfined, or leave it out.")
        elif name not in ("apparmor", "label") or not value:
            raise MinirunError(f"invalid --security-opt: '{text}'")
    return chosen


def _seccomp(value: str) -> str:
    if value in ("unconfined", "builtin"):
        return "" if value == "builtin" else value
    import json

    try:
        with open(value, encoding="utf-8") as file:
            text = file.read()
        profile = json.loads(text)
    except OSError as error:
        raise MinirunError(f"opening seccomp profile ({value}) failed: {error.strerror}") from error
    except ValueError as error:
        raise MinirunError(f"decoding seccomp profile ({value}) failed: {error}") from error
    if not isinstance(profile, dict) or "defaultAction" not in profile:
        raise MinirunError(f"decoding seccomp profile ({value}) failed: it has no defaultAction")
    return text


def sysctls(options: Mapping[str, Any], *, shares_network: bool) -> dict[str, str]:
    """Read `--sysctl NAME=VALUE`: only what belongs to a namespace that is the container's own. Raises MinirunError."""
    chosen = {}
    for text in options["sysctl"]:
        name, equals, value = text.partition("=")
        if not equals or not (name in _SYSCTLS or name.startswith(_SYSCTL_PREFIXES)) or "/" in name or ".." in name:
            raise MinirunError(
                f"sysctl '{text}' is not allowed",
                "Only what belongs to a namespace: net.*, fs.mqueue.*, kernel.msg*, kernel.sem, kernel.shm*.",
            )
        if name.startswith("net.") and shares_network:
            raise MinirunError(f"sysctl '{text}' is not allowed in the host's network namespace")
        if not name.startswith("net.") and options["ipc"] == "host":
            raise MinirunError(f"sysctl '{text}' is not allowed in the host's IPC namespace")
        chosen[name] = value
    return chosen
