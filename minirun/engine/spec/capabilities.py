"""Which capabilities a container gets: Docker's default, and what --cap-add, --cap-drop and --privileged make of it."""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.model.capabilities import NAMES, mask, names

DEFAULT = frozenset(
    {
        # Ordinary package managers and services running as the container's root need these to own, enter and share
        # out files. They act on the container's own files only, because it sees no others.
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_SETFCAP",
        "CAP_MKNOD",  # making a device node is harmless where the device cgroup forbids to open it
        # Servers start as root and give it up.
        "CAP_SETUID",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_KILL",
        "CAP_SYS_CHROOT",
        # They bind port 80 and ping, inside their own network namespace.
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_RAW",
        # login and sshd write to the audit log.
        "CAP_AUDIT_WRITE",
    }
)
"""Docker's default set: mask a80425fb, 14 of 41 capabilities."""


def container_capabilities(
    cap_add: tuple[str, ...], cap_drop: tuple[str, ...], privileged: bool, available: frozenset[str]
) -> frozenset[str]:
    """Return the capabilities that a container's root may have.

    `available` is what minirun itself has and can therefore pass on; "ALL" and `privileged` mean all of these.
    The arithmetic is Docker's: --cap-add ALL starts from everything and drops; --cap-drop ALL starts from nothing and
    adds; otherwise the default is first reduced and then added to, so a name given to both is added. Names may lack
    the CAP_ and be in any case. Raises MinirunError for a name that is no capability, and for one that minirun lacks.
    """
    add = frozenset(map(_normalized, cap_add))
    drop = frozenset(map(_normalized, cap_drop))
    if privileged:
        return available
    if "ALL" in add:
        return available - drop
    missing = add - available
    if missing:
        raise MinirunError(
            f"cannot add capability {min(missing)}: minirun does not have it itself",
            "The kernel lets a process pass on only what is in its own bounding and permitted sets (capabilities(7)).",
        )
    kept = frozenset() if "ALL" in drop else DEFAULT & available - drop
    return kept | add


def oci_capabilities(granted: frozenset[str], uid: int) -> dict[str, list[str]]:
    """Return OCI `process.capabilities` for a process of user `uid` in a container that was `granted` these.

    Root has them in force. Another user starts with none, as after any change from root to a plain user, but keeps
    the bounding set: a set-user-id program of the image may regain them up to there. Inheritable is always empty: a
    file with inheritable capabilities would otherwise hand them to every user (CVE-2022-29162); ambient is empty
    because Docker grants a plain user nothing through exec either.
    """
    all_of_them = list(names(mask(granted)))
    in_force = all_of_them if uid == 0 else []
    return {
        "bounding": all_of_them,
        "effective": in_force,
        "permitted": in_force,
        "inheritable": [],
        "ambient": [],
    }


def _normalized(name: str) -> str:
    """Return "CAP_CHOWN" for "chown", "Cap_Chown", ...; "ALL" for "all" and "CAP_ALL"."""
    upper = name.upper().removeprefix("CAP_")
    if upper == "ALL":
        return upper
    if f"CAP_{upper}" not in NAMES:
        raise MinirunError(f'invalid capability: "{name}"', "capabilities(7) lists them all.")
    return f"CAP_{upper}"
