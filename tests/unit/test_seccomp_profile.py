"""Docker's form of a seccomp profile becomes OCI's."""

from __future__ import annotations

import json

import pytest
from bpf_machine import ALLOW, EPERM, run, syscall_names
from hypothesis import given, settings
from hypothesis import strategies as st

from minirun.engine.spec.seccomp_profile import from_docker_profile
from minirun.errors import MinirunError
from minirun.kernel.cpu import host_architecture
from minirun.runtime.seccomp.cache import compile_filter

NONE: frozenset[str] = frozenset()


def convert(
    document: object, capabilities: frozenset[str] = NONE, architecture: str = "amd64", kernel: str = "6.1.0-18-amd64"
) -> dict[str, object] | None:
    return from_docker_profile(json.dumps(document), capabilities, architecture, kernel, "/etc/profile.json")


def rules(document: object, **circumstances: object) -> list[list[str]]:
    converted = convert(document, **circumstances)  # type: ignore[arg-type]
    assert converted is not None
    return [rule["names"] for rule in converted["syscalls"]]  # type: ignore[attr-defined]


def docker(*syscalls: dict[str, object], **more: object) -> dict[str, object]:
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": list(syscalls)} | more


def rule(name: str, **more: object) -> dict[str, object]:
    return {"names": [name], "action": "SCMP_ACT_ALLOW"} | more


def test_a_profile_in_dockers_form_filters() -> None:
    """The example of docs.docker.com, with what Docker adds to OCI: archMap, caps, a comment, `name`."""
    document = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "archMap": [
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
        ],
        "syscalls": [
            {"name": "accept", "action": "SCMP_ACT_ALLOW", "args": []},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "args": None, "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["exit_group"], "action": "SCMP_ACT_ALLOW", "comment": "", "includes": {}, "excludes": {}},
        ],
    }
    plain, admin = convert(document), convert(document, frozenset({"CAP_SYS_ADMIN"}))
    assert plain == {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            {"names": ["accept"], "action": "SCMP_ACT_ALLOW", "args": []},
            {"names": ["exit_group"], "action": "SCMP_ACT_ALLOW"},
        ],
    }
    assert admin is not None
    numbers = syscall_names("x86_64")
    assert run(compile_filter(plain).program, numbers["accept"]) == ALLOW
    assert run(compile_filter(plain).program, numbers["mount"]) == EPERM
    assert run(compile_filter(admin).program, numbers["mount"]) == ALLOW


def test_no_default_and_no_rules_is_no_filter() -> None:
    assert convert({}) is None
    assert convert({"defaultAction": "", "syscalls": None}) is None


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"includes": {"caps": ["CAP_BPF", "CAP_SYSLOG"]}}, True),
        ({"includes": {"caps": ["CAP_BPF", "CAP_SYS_BOOT"]}}, False),
        ({"excludes": {"caps": ["CAP_SYS_BOOT"]}}, True),
        ({"excludes": {"caps": ["CAP_SYS_BOOT", "CAP_BPF"]}}, False),
        ({"includes": {"arches": ["arm64", "amd64"]}}, True),
        ({"includes": {"arches": ["arm64"]}}, False),
        ({"excludes": {"arches": ["amd64"]}}, False),
        ({"excludes": {"arches": ["s390x"]}}, True),
        ({"includes": {"minKernel": "4.8"}}, True),
        ({"includes": {"minKernel": "6.1"}}, True),
        ({"includes": {"minKernel": "6.10"}}, False),
        ({"excludes": {"minKernel": "6.10"}}, True),
        ({"excludes": {"minKernel": "5.19"}}, False),
        ({"includes": {"arches": ["amd64"], "caps": ["CAP_BPF"]}, "excludes": {"caps": ["CAP_SYSLOG"]}}, False),
        ({"includes": None, "excludes": None}, True),
    ],
)
def test_conditions(condition: dict[str, object], holds: bool) -> None:
    found = rules(docker(rule("read", **condition)), capabilities=frozenset({"CAP_BPF", "CAP_SYSLOG"}))
    assert found == ([["read"]] if holds else [])


def test_architectures() -> None:
    given = docker(rule("read"), architectures=["SCMP_ARCH_X86_64"])
    converted = convert(given)
    assert converted is not None
    assert converted["architectures"] == ["SCMP_ARCH_X86_64"]
    only_arm = docker(rule("read"), archMap=[{"architecture": "SCMP_ARCH_AARCH64"}])
    converted = convert(only_arm)
    assert converted is not None
    assert "architectures" not in converted  # then the native one is filtered
    assert rules(docker(rule("read", includes={"arches": ["x86"]})), architecture="386") == [["read"]]


def test_everything_that_oci_has_too_is_kept() -> None:
    args = [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}]
    more = {"flags": ["SECCOMP_FILTER_FLAG_LOG"], "listenerPath": "/run/l", "listenerMetadata": "m"}
    entry = {"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "args": args}
    assert convert(docker(entry, **more)) == docker(entry, **more)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "/etc/profile.json: is not an object"),
        (docker("read"), r"/etc/profile.json: syscalls\[0\]: is not an object"),  # type: ignore[arg-type]
        (docker(rule("read"), rule("x", action="ALLOW")), r"/etc/profile.json: syscalls\[1\].action: 'ALLOW' is no"),
        (docker(rule("read") | {"name": "write"}), r"syscalls\[0\].name: cannot be given together with 'names'"),
        (docker({"name": 7, "action": "SCMP_ACT_ALLOW"}), r"syscalls\[0\].names: is not a list of names"),
        (docker(rule("read", args=[{"op": "EQ"}])), r"syscalls\[0\].args\[0\].op: 'EQ' is no comparison"),
        (docker(rule("read", includes=[1])), r"syscalls\[0\].includes: is not an object"),
        (docker(rule("read", includes={"caps": [{}]})), r"syscalls\[0\].includes.caps: is not a list of names"),
        (
            docker(rule("read", excludes={"minKernel": "new"})),
            r"syscalls\[0\].excludes.minKernel: is no kernel version",
        ),
        (docker(defaultAction="DENY"), "/etc/profile.json.defaultAction: 'DENY' is no action"),
        (docker(archMap=[{}], architectures=["SCMP_ARCH_X86"]), "archMap: cannot be given together with 'architect"),
        (docker(archMap=[3]), r"/etc/profile.json: archMap\[0\]: is not an object"),
    ],
)
def test_errors_name_the_file_and_the_field(wrong: object, message: str) -> None:
    with pytest.raises(MinirunError, match=message) as caught:
        convert(wrong)
    assert caught.value.exit_code == 125


@pytest.mark.parametrize("text", ["", "{", "seccomp", "[" * 100_000, '{"a": 1,}'])
def test_what_is_not_json_is_said_so(text: str) -> None:
    with pytest.raises(MinirunError, match=r"/etc/profile\.json: is not JSON"):
        from_docker_profile(text, NONE, "amd64", "6.1", "/etc/profile.json")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["read", "SCMP_ACT_ALLOW", "amd64", "4.8", ""]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["names", "action", "caps", "arches", "minKernel", "includes", "args"]), inner
        )
    ),
    max_leaves=6,
)


@settings(max_examples=100)
@given(st.dictionaries(st.sampled_from(["defaultAction", "syscalls", "archMap", "flags"]), VALUES))
def test_any_json_is_converted_or_refused_with_a_sentence(document: dict[str, object]) -> None:
    problem = ""
    try:
        converted = convert(document)
    except MinirunError as error:
        converted, problem = None, error.message
    assert problem == "" or problem.startswith("/etc/profile.json")
    assert converted is None or compile_filter(converted).program


def test_this_machine_has_a_name() -> None:
    assert host_architecture() in ("amd64", "arm64", "386", "arm", "ppc64le", "riscv64", "s390x", "mips64", "loong64")
