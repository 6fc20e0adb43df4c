"""`features`: what this runtime can do, told truthfully (runtime-spec features.md, features-linux.md)."""

from __future__ import annotations

from minirun import __version__
from minirun.kernel.limits import MEMORY_POLICIES, MEMORY_POLICY_FLAGS
from minirun.kernel.mount import CLEARS_FLAG, PROPAGATION, RECURSIVE_ATTRIBUTES, SETS_FLAG
from minirun.kernel.seccomp import ACTIONS, FLAGS, OPERATORS, architecture_token, library_version, supported_flags
from minirun.model.capabilities import NAMES
from minirun.model.oci_version import OCI_VERSION
from minirun.model.spec import HOOK_KINDS, NAMESPACE_TYPES
from minirun.runtime.cgroup.systemd.properties import PROPERTY_ANNOTATION
from minirun.runtime.compat import crun_annotations
from minirun.runtime.create.container import REAPER_ANNOTATION
from minirun.runtime.rootfs.mount_options import IDMAP_OPTIONS, LINK_OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


# Those of config-linux.md, "Seccomp".
_ARCHITECTURES = (
    "AARCH64 ARM LOONGARCH64 M68K MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PARISC PARISC64 PPC PPC64 PPC64LE "
    "RISCV64 S390 S390X SH SHEB X32 X86 X86_64"
).split()


def document() -> dict[str, Any]:
    """Return the features document.

    It tells what the runtime can do, whatever this machine has of it. Seccomp's `supportedFlags` are
    this kernel's.
    """
    options = {
        *SETS_FLAG,
        *CLEARS_FLAG,
        *PROPAGATION,
        *RECURSIVE_ATTRIBUTES,
        *IDMAP_OPTIONS,
        *LINK_OPTIONS,
        "tmpcopyup",
    }
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": list(HOOK_KINDS),
        "mountOptions": sorted(options),
        "linux": {
            "namespaces": sorted(NAMESPACE_TYPES),
            "capabilities": list(NAMES),
            "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
            "seccomp": {
                "enabled": True,
                "actions": sorted(ACTIONS),
                "operators": sorted(OPERATORS),
                "archs": [f"SCMP_ARCH_{name}" for name in _ARCHITECTURES if architecture_token(name.lower())],
                "knownFlags": sorted(FLAGS),
                "supportedFlags": sorted(supported_flags()),
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "memoryPolicy": {"modes": sorted(MEMORY_POLICIES), "flags": sorted(MEMORY_POLICY_FLAGS)},
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
        "annotations": {
            "org.minirun.version": __version__,
            "io.github.seccomp.libseccomp.version": library_version(),
        },
        "potentiallyUnsafeConfigAnnotations": [REAPER_ANNOTATION, PROPERTY_ANNOTATION, crun_annotations.PREFIX],
    }
