"""`features`: what this runtime can do on this machine, told truthfully (runtime-spec features.md)."""

from __future__ import annotations

import os

from minirun import __version__
from minirun.kernel.mount import CLEARS_FLAG, PROPAGATION, RECURSIVE_ATTRIBUTES, SETS_FLAG
from minirun.kernel.seccomp import ACTIONS, FLAGS, OPERATORS, architecture_token
from minirun.model.capabilities import NAMES
from minirun.model.spec import NAMESPACE_TYPES, OCI_VERSION
from minirun.runtime import labels
from minirun.runtime.mounts import IDMAP_OPTIONS, LINK_OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


# Those of config-linux.md, "Seccomp".
_ARCHITECTURES = (
    "AARCH64 ARM LOONGARCH64 M68K MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PARISC PARISC64 PPC PPC64 PPC64LE "
    "RISCV64 S390 S390X SH SHEB X32 X86 X86_64"
).split()


def document() -> dict[str, Any]:
    """Return the features document."""
    options = {
        *SETS_FLAG,
        *CLEARS_FLAG,
        *PROPAGATION,
        *RECURSIVE_ATTRIBUTES,
        *IDMAP_OPTIONS,
        *LINK_OPTIONS,
        "tmpcopyup",
    }
    files = {"mount": "mnt", "network": "net"}
    namespaces = [kind for kind in NAMESPACE_TYPES if os.path.exists(f"/proc/self/ns/{files.get(kind, kind)}")]
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": sorted(options),
        "linux": {
            "namespaces": sorted(namespaces),
            "capabilities": list(NAMES),
            "cgroup": {"v1": False, "v2": True, "systemd": True, "systemdUser": False, "rdma": True},
            "seccomp": {
                "enabled": True,
                "actions": sorted(ACTIONS),
                "operators": sorted(OPERATORS),
                "archs": [f"SCMP_ARCH_{name}" for name in _ARCHITECTURES if architecture_token(name.lower())],
                "knownFlags": sorted(FLAGS),
                "supportedFlags": sorted(FLAGS),
            },
            "apparmor": {"enabled": labels.apparmor_is_enabled()},
            "selinux": {"enabled": labels.selinux_is_enabled()},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": True}},
        },
        "annotations": {"org.minirun.version": __version__},
        "potentiallyUnsafeConfigAnnotations": [],
    }
