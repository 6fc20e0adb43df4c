"""Platforms: names, defaults, and what runs on what, as containerd's package platforms has it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.errors import MinirunError
from minirun.kernel.cpu import _x86_level, host_architecture, host_platform
from minirun.model.platform import Platform, normalised, parse_platform

HOST = Platform("linux", "amd64", "v3")
V2 = "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3"
V3 = f"{V2} abm avx avx2 bmi1 bmi2 f16c fma movbe xsave"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("Linux/X86_64", "linux/amd64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/6", "linux/arm/v6"),
        ("linux/armhf", "linux/arm/v7"),
        ("arm64", "linux/arm64"),
        ("linux", "linux/amd64/v3"),
        ("windows/amd64", "windows/amd64"),
    ],
)
def test_platforms_are_read(text: str, expected: str) -> None:
    assert str(parse_platform(text, HOST)) == expected


@pytest.mark.parametrize("text", ["", "/", "linux/", "linux/amd64/v1/x", "linux/am d64", "nonsense", "linux/\n"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(MinirunError):
        parse_platform(text, HOST)


@given(st.text())
def test_any_text_is_a_platform_or_an_error_of_ours(text: str) -> None:
    try:
        platform = parse_platform(text, HOST)
    except MinirunError:
        return
    assert parse_platform(str(platform), HOST) == platform


@pytest.mark.parametrize(
    ("host", "best_first", "never"),
    [
        ("linux/amd64/v3", ["amd64/v3", "amd64/v2", "amd64", "386"], ["amd64/v4", "arm64", "riscv64"]),
        ("linux/amd64", ["amd64", "386"], ["amd64/v2"]),
        ("linux/arm64", ["arm64", "arm/v8", "arm/v7", "arm/v6", "arm/v5"], ["amd64", "arm64/v9"]),
        ("linux/arm/v6", ["arm/v6", "arm/v5"], ["arm/v7", "arm64"]),
        ("linux/s390x", ["s390x"], ["amd64"]),
    ],
)
def test_the_best_is_what_uses_the_processor_most(host: str, best_first: list[str], never: list[str]) -> None:
    machine = normalised(*host.split("/"))
    preferences = [machine.preference(normalised("linux", *text.split("/"))) for text in best_first]
    assert preferences == sorted(preferences)
    assert min(preferences) == 0
    assert {machine.preference(normalised("linux", *text.split("/"))) for text in never} == {-1}
    assert machine.preference(normalised("windows", "amd64")) == -1


@pytest.mark.parametrize(
    ("flags", "level"),
    [("fpu sse2", ""), (V2, "v2"), (V3, "v3"), (V3.replace("avx2", ""), "v2"), (f"{V3} avx512f", "v3")],
)
def test_levels_of_x86_64_are_told_by_the_processors_flags(flags: str, level: str) -> None:
    assert _x86_level(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t:\n") == level


def test_this_machine_runs_its_own_images() -> None:
    assert host_platform().preference(Platform("linux", host_architecture())) >= 0
