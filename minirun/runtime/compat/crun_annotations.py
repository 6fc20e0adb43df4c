"""What crun's users ask of a runtime beyond the specification, by annotations (crun(1), "Extensions to OCI").

Podman sets one of them itself: `--group-add keep-groups` is `run.oci.keep_original_groups`. Those that are not here are
named in a warning, except if ignoring one would make the container less safe than intended.
"""

from __future__ import annotations

from minirun.errors import MinirunError, warn
from minirun.runtime.process.hooks import STDERR_ANNOTATION, STDOUT_ANNOTATION
from minirun.runtime.rootfs.mount_options import CONTEXT_ANNOTATION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

PREFIX = "run.oci."
KEEP_GROUPS = "run.oci.keep_original_groups"  # "1": no setgroups(2), neither for additionalGids nor to clear any
PIDFD_RECEIVER = "run.oci.pidfd_receiver"  # socket that gets a pidfd of the container's process
SECCOMP_RECEIVER = "run.oci.seccomp.receiver"  # what linux.seccomp.listenerPath is now

CONTEXT_TYPES = ("context", "fscontext", "defcontext", "rootcontext")
_KNOWN = frozenset(
    (KEEP_GROUPS, PIDFD_RECEIVER, SECCOMP_RECEIVER, STDOUT_ANNOTATION, STDERR_ANNOTATION, CONTEXT_ANNOTATION)
)
_REFUSED = {"run.oci.seccomp_bpf_data": "minirun compiles linux.seccomp and loads no other filter"}


def check(annotations: Mapping[str, str]) -> None:
    """Refuse annotations that must not be ignored, and warn of those that are. Raises MinirunError."""
    for name, value in annotations.items():
        if name in _REFUSED:
            raise MinirunError(f"config.json: annotations: {name} is not supported: {_REFUSED[name]}")
        if name == CONTEXT_ANNOTATION and value not in CONTEXT_TYPES:
            raise MinirunError(f"config.json: annotations: {name} '{value}' is not one of {', '.join(CONTEXT_TYPES)}")
        if name.startswith(PREFIX) and name not in _KNOWN:
            warn(f"ignoring the annotation {name}, which is not supported")


def keeps_groups(annotations: Mapping[str, str]) -> bool:
    """Say whether the container's processes keep the supplementary groups of their caller."""
    return annotations.get(KEEP_GROUPS) == "1"


def with_receiver(seccomp: dict[str, Any], annotations: Mapping[str, str]) -> dict[str, Any]:
    """Return a seccomp section that names the annotation's socket, unless it has one itself."""
    receiver = annotations.get(SECCOMP_RECEIVER)
    return seccomp if not receiver or seccomp.get("listenerPath") else seccomp | {"listenerPath": receiver}


def send_pidfd(annotations: Mapping[str, str], pidfd: int) -> None:
    """Send a pidfd of the container to the socket that the annotation names, if there is one. Raises MinirunError."""
    path = annotations.get(PIDFD_RECEIVER)
    if not path:
        return
    import socket

    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            channel.connect(path)
            socket.send_fds(channel, [b"0"], [pidfd])
    except OSError as error:
        raise MinirunError(f"cannot send a pidfd to {path}: {error.strerror}", f"{PIDFD_RECEIVER} names it.") from error
