"""`--security-opt seccomp=FILE`: Docker's form of a filter, which adapts to the machine and the container.

It is the OCI form plus conditions: a rule may be for some architectures, some capabilities or newer kernels only, and
`archMap` lists sub-architectures for several machines (docs.docker.com/engine/security/seccomp). Here the conditions
are decided, and what is left is plain OCI.
"""

from __future__ import annotations

from minirun.model import jsontext
from minirun.runtime.seccomp.cache import as_list, as_object, as_texts, invalid, read_rules, read_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What profiles call an architecture, where that differs from Docker's name.
_IN_PROFILES = {"386": "x86", "mips64le": "mipsel64", "loong64": "loongarch64"}
_SECCOMP_NAMES = {
    "386": "SCMP_ARCH_X86",
    "amd64": "SCMP_ARCH_X86_64",
    "arm": "SCMP_ARCH_ARM",
    "arm64": "SCMP_ARCH_AARCH64",
    "loong64": "SCMP_ARCH_LOONGARCH64",
    "mips64": "SCMP_ARCH_MIPS64",
    "mips64le": "SCMP_ARCH_MIPSEL64",
    "ppc64le": "SCMP_ARCH_PPC64LE",
    "riscv64": "SCMP_ARCH_RISCV64",
    "s390x": "SCMP_ARCH_S390X",
}
_COPIED = ("defaultAction", "defaultErrnoRet", "architectures", "flags", "listenerPath", "listenerMetadata")


def from_docker_profile(
    text: str, capabilities: frozenset[str], architecture: str, kernel: str, source: str = "seccomp profile"
) -> dict[str, Any] | None:
    """Turn a Docker seccomp profile into an OCI `linux.seccomp` object; None if it asks for no filter at all.

    `capabilities` is the container's bounding set, `architecture` Docker's name ("amd64"), `kernel` what uname -r
    says, `source` the file's name for errors. Raises MinirunError that names the file and the field.
    """
    try:
        document = jsontext.loads(text)
    except (ValueError, RecursionError) as error:
        raise invalid(source, f"is not JSON: {error}") from error
    profile = as_object(document, source)
    if not profile.get("defaultAction") and not profile.get("syscalls"):
        return None
    if profile.get("architectures") and profile.get("archMap"):
        raise invalid(f"{source}: archMap", "cannot be given together with 'architectures'")
    oci = {key: profile[key] for key in _COPIED if profile.get(key) is not None}
    native = _SECCOMP_NAMES.get(architecture)
    for index, value in enumerate(as_list(profile, "archMap", source)):
        entry = as_object(value, f"{source}: archMap[{index}]")
        if native and entry.get("architecture") == native:
            subs = as_texts(entry, "subArchitectures", f"{source}: archMap[{index}]")
            oci["architectures"] = [native, *subs]
            break
    read_settings(oci, source)

    machine = _IN_PROFILES.get(architecture, architecture)
    rules = []
    for index, value in enumerate(as_list(profile, "syscalls", source)):
        field = f"{source}: syscalls[{index}]"
        entry = as_object(value, field)
        rule = _rule(entry, field)
        read_rules(rule, field)
        if _counts_here(entry, field, capabilities, machine, _version(kernel, "the kernel's version")):
            rules.append(rule)
    return oci | {"syscalls": rules}


def _rule(entry: dict[str, Any], field: str) -> dict[str, Any]:
    """Return the part of a Docker rule that OCI has too; `name` is an old way to write `names`."""
    if entry.get("name") and entry.get("names"):
        raise invalid(f"{field}.name", "cannot be given together with 'names'")
    rule = {key: entry[key] for key in ("names", "action", "errnoRet", "args") if entry.get(key) is not None}
    return rule | {"names": [entry["name"]]} if entry.get("name") else rule


def _counts_here(
    entry: dict[str, Any], field: str, capabilities: frozenset[str], architecture: str, kernel: tuple[int, int]
) -> bool:
    """Decide a rule's conditions: all that it `includes` has to be so, and nothing that it `excludes`."""
    wanted = as_object(entry.get("includes") or {}, f"{field}.includes")
    unwanted = as_object(entry.get("excludes") or {}, f"{field}.excludes")
    architectures = as_texts(wanted, "arches", f"{field}.includes")
    return (
        (not architectures or architecture in architectures)
        and all(name in capabilities for name in as_texts(wanted, "caps", f"{field}.includes"))
        and (not wanted.get("minKernel") or kernel >= _version(wanted["minKernel"], f"{field}.includes.minKernel"))
        and architecture not in as_texts(unwanted, "arches", f"{field}.excludes")
        and not any(name in capabilities for name in as_texts(unwanted, "caps", f"{field}.excludes"))
        and not (unwanted.get("minKernel") and kernel >= _version(unwanted["minKernel"], f"{field}.excludes.minKernel"))
    )


def _version(text: object, field: str) -> tuple[int, int]:
    """Read "4.8" or "6.1.0-18-amd64" as (4, 8) or (6, 1)."""
    major, _, rest = text.partition(".") if isinstance(text, str) else ("", "", "")
    minor = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    if not major.isdecimal() or not minor:
        raise invalid(field, f"is no kernel version: '{text}'")
    return int(major), int(minor)
