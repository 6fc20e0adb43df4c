"""What kind of processor this machine has, in the words of images."""

from __future__ import annotations

import os

from minirun.kernel.files import read
from minirun.model.platform import Platform

# Docker's names of architectures by uname -m.
_ARCHITECTURES = {
    "x86_64": "amd64",
    "i686": "386",
    "aarch64": "arm64",
    "armv6l": "arm",
    "armv7l": "arm",
    "mips64": "mips64",
    "ppc64le": "ppc64le",
    "riscv64": "riscv64",
    "s390x": "s390x",
    "loongarch64": "loong64",
}
# What each level of x86-64 has more than the one before, as /proc/cpuinfo calls it: pni is SSE3, abm has LZCNT.
# Source: x86-64 psABI, "Micro-Architecture Levels".
_X86_LEVELS = (
    ("v2", "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3"),
    ("v3", "abm avx avx2 bmi1 bmi2 f16c fma movbe xsave"),
    ("v4", "avx512bw avx512cd avx512dq avx512f avx512vl"),
)


def host_architecture() -> str:
    """Return Docker's name for this machine's architecture, "amd64"; uname's own where Docker has none."""
    machine = os.uname().machine
    return _ARCHITECTURES.get(machine, machine)


def host_platform() -> Platform:
    """Return this machine's platform with the newest variant that its processor has, linux/amd64/v3."""
    architecture = host_architecture()
    variant = ""
    if architecture == "amd64":
        variant = _x86_level(read("/proc/cpuinfo"))
    elif architecture == "arm":
        variant = os.uname().machine[3:5]
    return Platform("linux", architecture, variant)


def _x86_level(cpuinfo: str) -> str:
    line = next((line for line in cpuinfo.splitlines() if line.startswith("flags")), "")
    flags = set(line.partition(":")[2].split())
    level = ""
    for name, needed in _X86_LEVELS:
        if not flags.issuperset(needed.split()):
            break
        level = name
    return level
