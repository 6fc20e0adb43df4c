"""Platforms of images: what runs on what, in the words of containerd's package platforms, which Docker uses."""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.model.record import Record

# What people write -> what Go, and so every image, calls it.
_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
}
_SYSTEMS = {"macos": "darwin"}
_KNOWN_SYSTEMS = frozenset(
    "aix android darwin dragonfly freebsd illumos ios js linux netbsd openbsd plan9 solaris windows".split()
)
_KNOWN_ARCHITECTURES = frozenset(
    "386 amd64 arm arm64 loong64 mips mips64 mips64le mipsle ppc64 ppc64le riscv64 s390x wasm".split()
)
# A platform that is one of these without a variant is this one.
_DEFAULT_VARIANTS = {"amd64": "v1", "arm64": "v8", "arm": "v7"}


class Platform(Record):
    """An operating system, an architecture and maybe a variant of it, such as linux, arm, v7."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))

    def preference(self, image: Platform) -> int:
        """Say how well an image suits a machine of this platform: 0 is best, -1 means that it cannot run here.

        A machine runs what was made for older variants of it, and also for its 32-bit predecessor.
        """
        wanted = normalised(image.os, image.architecture, image.variant)
        suitable = _runs(normalised(self.os, self.architecture, self.variant))
        return suitable.index(wanted) if wanted in suitable else -1


def normalised(system: str, architecture: str, variant: str = "") -> Platform:
    """Return a platform in Go's names, without a variant that goes without saying."""
    system, architecture, variant = system.lower(), architecture.lower(), variant.lower()
    system = _SYSTEMS.get(system, system)
    architecture, implied = _ARCHITECTURES.get(architecture, (architecture, ""))
    variant = variant or implied
    if variant.isdigit():
        variant = f"v{variant}"
    if architecture == "arm":
        variant = variant or _DEFAULT_VARIANTS["arm"]
    elif variant == _DEFAULT_VARIANTS.get(architecture):
        variant = ""
    return Platform(system, architecture, variant)


def parse_platform(text: str, host: Platform) -> Platform:
    """Read "linux/arm64/v8", "linux" or "arm64"; what is left out is the host's. Raises MinirunError."""
    parts = text.split("/")
    for part in parts:
        if not part or not part.replace("_", "").replace("-", "").replace(".", "").isalnum() or not part.isascii():
            raise MinirunError(
                f"{part!r} is an invalid component of the platform {text!r}", "A platform is OS/ARCHITECTURE[/VARIANT]."
            )
    if len(parts) > 3:
        raise MinirunError(f"cannot parse the platform {text!r}", "A platform is OS/ARCHITECTURE[/VARIANT].")
    if len(parts) > 1:
        return normalised(*parts)
    system = normalised(text, "").os
    if system in _KNOWN_SYSTEMS:
        return host.replace(os=system)
    alone = normalised(host.os, text)
    if alone.architecture in _KNOWN_ARCHITECTURES:
        return alone
    raise MinirunError(
        f"{text!r} is an unknown operating system or architecture", "A platform is OS/ARCHITECTURE[/VARIANT]."
    )


def _runs(host: Platform) -> list[Platform]:
    """Return all platforms whose programs a host runs, the best first."""
    system, architecture = host.os, host.architecture
    level = host.variant.removeprefix("v")
    found = [host]
    if architecture == "amd64":
        levels = range(int(level) - 1, 0, -1) if level.isdigit() else ()
        found += [normalised(system, architecture, f"v{older}") for older in levels]
        found.append(Platform(system, "386"))
    elif architecture == "arm64":
        found += [Platform(system, "arm", f"v{older}") for older in (8, 7, 6, 5)]
    elif architecture == "arm" and level.isdigit():
        found += [Platform(system, "arm", f"v{older}") for older in range(int(level) - 1, 4, -1)]
    return found
