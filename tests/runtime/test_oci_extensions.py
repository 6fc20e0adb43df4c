"""Annotations of crun, some of which Podman sets (crun(1), "Extensions to OCI")."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from support.oci_bundles import Bundle, Oci

PRESTART = {"path": "/bin/sh", "args": ["sh", "-c", "echo said; echo complained >&2"]}


@pytest.mark.parametrize(("value", "groups"), [("1", "0 7 8"), ("0", "0 3")])
def test_the_callers_groups_are_kept(oci: Oci, bundle: Bundle, value: str, groups: str) -> None:
    bundle.config["annotations"] = {"run.oci.keep_original_groups": value}
    bundle.config["process"]["user"]["additionalGids"] = [3]  # which Podman takes from the image all the same
    oci.save(bundle, "id -G")
    code = "import os, sys; os.setgroups([7, 8]); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", code, *oci.command, "run", "--bundle", str(bundle.path), oci.new_id()]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == groups


def test_they_are_kept_in_a_user_namespace(oci: Oci, bundle: Bundle) -> None:
    bundle.map_users().config["annotations"] = {"run.oci.keep_original_groups": "1"}
    oci.save(bundle, "id -G")
    code = "import os, sys; os.setgroups([100_007]); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", code, *oci.command, "run", "--bundle", str(bundle.path), oci.new_id()]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "0 7"


def test_a_pidfd_is_sent(oci: Oci, bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "receiver"
    bundle.config["annotations"] = {"run.oci.pidfd_receiver": str(path)}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(20)
        container = oci.create(bundle, "true")
        with listener.accept()[0] as connection:
            _, (pidfd,), _, _ = socket.recv_fds(connection, 100, 1)
    with open(f"/proc/self/fdinfo/{pidfd}") as info:
        assert f"Pid:\t{oci.pid(container)}\n" in info.readlines()
    os.close(pidfd)


def test_a_receiver_that_is_not_there_fails_the_container(oci: Oci, bundle: Bundle, tmp_path: Path) -> None:
    bundle.config["annotations"] = {"run.oci.pidfd_receiver": str(tmp_path / "nobody")}
    assert "cannot send a pidfd to" in oci.refusal(bundle)


def test_hooks_write_to_files(oci: Oci, bundle: Bundle, tmp_path: Path) -> None:
    said, complained = tmp_path / "said", tmp_path / "complained"
    bundle.config["hooks"] = {"prestart": [PRESTART], "createContainer": [PRESTART]}
    bundle.config["annotations"] = {"run.oci.hooks.stdout": str(said), "run.oci.hooks.stderr": str(complained)}
    oci.run(bundle, "true")
    assert said.read_text() == "said\n" * 2
    assert complained.read_text() == "complained\n" * 2


def test_a_listener_by_annotation(oci: Oci, bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "agent"
    bundle.config["annotations"] = {"run.oci.seccomp.receiver": str(path)}
    rule = {"names": ["mkdirat", "mkdir"], "action": "SCMP_ACT_NOTIFY"}
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(20)
        oci.create(bundle, "true")
        with listener.accept()[0] as connection:
            _, descriptors, _, _ = socket.recv_fds(connection, 65536, 1)
    assert len(descriptors) == 1
    os.close(descriptors[0])


def test_an_agent_that_is_never_asked_hears_of_the_container_if_it_is_there(
    oci: Oci, bundle: Bundle, tmp_path: Path
) -> None:
    path = tmp_path / "agent"
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": str(path)}
    assert oci.output(bundle, "echo ran") == "ran\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(20)
        oci.create(bundle, "true")
        with listener.accept()[0] as connection:
            _, (descriptor,), _, _ = socket.recv_fds(connection, 65536, 1)
    os.close(descriptor)


def test_what_is_left_out_is_told(oci: Oci, bundle: Bundle) -> None:
    bundle.config["annotations"] = {"run.oci.handler": "krun", "org.example": "x"}
    done = oci.run(bundle, "echo ran")
    assert done.stdout == "ran\n"
    assert done.stderr.count("warning") == 1
    assert "ignoring the annotation run.oci.handler" in done.stderr


@pytest.mark.parametrize(
    ("annotations", "words"),
    [
        ({"run.oci.seccomp_bpf_data": "AAAA"}, "run.oci.seccomp_bpf_data is not supported"),
        ({"run.oci.mount_context_type": "sideways"}, "'sideways' is not one of context, fscontext"),
    ],
)
def test_what_must_not_be_left_out_is_refused(
    oci: Oci, bundle: Bundle, annotations: dict[str, str], words: str
) -> None:
    bundle.config["annotations"] = annotations
    assert words in oci.refusal(bundle)
