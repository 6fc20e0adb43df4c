"""Profiles for tests, as config.json has them."""

from __future__ import annotations

NOTIFY_MKDIR = {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}


def profile(*rules: dict[str, object], **more: object) -> dict[str, object]:
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": list(rules),
    } | more


def allow(*names: str, **more: object) -> dict[str, object]:
    return {"names": list(names), "action": "SCMP_ACT_ALLOW"} | more
