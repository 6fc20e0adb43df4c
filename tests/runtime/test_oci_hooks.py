"""Hooks: runtime-spec config.md, "POSIX-platform Hooks", and runtime.md, "Lifecycle"."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from support.oci_bundles import Bundle, Oci

IN_ORDER = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]


def hook(script: str, **more: Any) -> dict[str, Any]:
    return {"path": "/bin/sh", "args": ["sh", "-c", script], **more}


@pytest.fixture
def notes(bundle: Bundle) -> Path:
    """Return a directory that hooks write to, at the same path inside and outside of the container."""
    directory = bundle.path / "notes"
    directory.mkdir()
    bundle.mount(str(directory), directory)
    return directory


def record(bundle: Bundle, notes: Path) -> None:
    """Have each hook note the state that it reads, and when."""
    bundle.config["hooks"] = {
        kind: [
            hook(f"echo {kind} >> {notes}/order; cat > {notes}/{kind}; readlink /proc/self/ns/mnt > {notes}/{kind}.ns")
        ]
        for kind in IN_ORDER
    }


def test_each_kind_has_its_moment_and_its_state(oci: Oci, bundle: Bundle, notes: Path) -> None:
    record(bundle, notes)
    bundle.config["annotations"] = {"a": "b"}
    container = oci.create(bundle, f"echo command >> {notes}/order")
    pid = oci.pid(container)
    assert (notes / "order").read_text().split() == IN_ORDER[:3]
    oci("start", container)
    deadline = time.monotonic() + 10
    while json.loads(oci("state", container).stdout)["status"] != "stopped" and time.monotonic() < deadline:
        time.sleep(0.02)
    oci("delete", container)
    order = (notes / "order").read_text().split()
    assert [kind for kind in order if kind not in ("command", "poststart")] == [*IN_ORDER[:4], "poststop"]
    assert order.index("startContainer") < order.index("command")

    states = {kind: json.loads((notes / kind).read_text()) for kind in IN_ORDER}
    for state in states.values():
        assert (state["id"], state["bundle"], state["annotations"]) == (container, str(bundle.path), {"a": "b"})
    assert {kind: state["status"] for kind, state in states.items()} == {
        "prestart": "creating",
        "createRuntime": "creating",
        "createContainer": "creating",
        "startContainer": "created",
        "poststart": "running",
        "poststop": "stopped",
    }
    assert [states[kind]["pid"] for kind in ("prestart", "createRuntime", "poststart")] == [pid] * 3
    assert states["startContainer"]["pid"] == 1

    own = Path("/proc/self/ns/mnt").readlink().name
    inside = {kind for kind in IN_ORDER if (notes / f"{kind}.ns").read_text().strip() != own}
    assert inside == {"createContainer", "startContainer"}


def test_a_hook_of_create_container_stands_in_the_root(oci: Oci, bundle: Bundle) -> None:
    bundle.config["hooks"] = {"createContainer": [hook("touch ./etc/from-hook")]}
    bundle.config["root"]["readonly"] = False
    assert oci.output(bundle, "ls /etc/from-hook") == "/etc/from-hook\n"


def test_a_hook_that_a_filter_kills(oci: Oci, bundle: Bundle) -> None:
    bundle.config["hooks"] = {"startContainer": [hook("mkdir /dev/shm/made")]}
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL"}
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    done = oci.run(bundle, "true", check=False)
    assert done.returncode == 1
    assert "error running startContainer hook #0: " in done.stderr


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"])
def test_a_failing_hook_ends_the_container(oci: Oci, bundle: Bundle, notes: Path, kind: str) -> None:
    after = {"poststop": [hook(f"touch {notes}/poststop")]}
    bundle.config["hooks"] = {kind: [hook("true"), hook("exit 3"), hook(f"touch {notes}/third")]} | after
    said = oci.refusal(bundle, "sleep 60")
    assert f"error running {kind} hook #1" in said
    assert "failed with exit code 3" in said
    assert (notes / "poststop").exists()
    assert not (notes / "third").exists()


def test_a_failing_poststart_hook_deletes_the_container(oci: Oci, bundle: Bundle, notes: Path) -> None:
    bundle.config["hooks"] = {"poststart": [hook("exit 3")], "poststop": [hook(f"touch {notes}/poststop")]}
    container = oci.create(bundle, "sleep 60")
    assert "failed with exit code 3" in oci("start", container, check=False).stderr
    assert container not in oci.containers()
    assert (notes / "poststop").exists()


def test_a_failing_poststop_hook_is_told_and_the_next_one_runs(oci: Oci, bundle: Bundle, notes: Path) -> None:
    bundle.config["hooks"] = {"poststop": [hook("exit 3"), hook(f"touch {notes}/second")]}
    done = oci.run(bundle, "true")
    assert "poststop hook #0" in done.stderr
    assert "poststop hook failed with exit code 3" in done.stderr
    assert (notes / "second").exists()


@pytest.mark.parametrize("kind", ["createRuntime", "createContainer", "startContainer"])
def test_a_hook_that_takes_too_long(oci: Oci, bundle: Bundle, kind: str) -> None:
    bundle.config["hooks"] = {kind: [hook("exec sleep 60", timeout=1)]}
    started = time.monotonic()
    assert "within 1 seconds" in oci.refusal(bundle)
    assert time.monotonic() - started < 20


def test_environment_of_hooks(oci: Oci, bundle: Bundle, notes: Path) -> None:
    bundle.config["process"]["env"].append("OF=container")
    own = [hook(f"echo $OF > {notes}/own-$0", env=["PATH=/bin:/usr/bin", "OF=hook"])]
    inherited = [hook(f"echo $OF > {notes}/inherited-$0")]
    for kind in ("createContainer", "startContainer"):
        for entry in (own[0], inherited[0]):
            bundle.config.setdefault("hooks", {}).setdefault(kind, []).append(entry | {"args": [*entry["args"], kind]})
    oci.run(bundle, "true")
    found = {path.name: path.read_text().strip() for path in notes.iterdir()}
    assert found == {
        "own-createContainer": "hook",
        "own-startContainer": "hook",
        "inherited-createContainer": "container",
        "inherited-startContainer": "container",
    }


def test_a_hook_without_a_program(oci: Oci, bundle: Bundle) -> None:
    bundle.config["hooks"] = {"createRuntime": [{"path": "/no/such/hook"}]}
    said = oci.refusal(bundle)
    assert "createRuntime hook #0" in said
    assert "/no/such/hook" in said


def test_hooks_run_by_the_commands_user_in_the_container(oci: Oci, bundle: Bundle, notes: Path) -> None:
    notes.chmod(0o777)
    bundle.config["process"]["user"] = {"uid": 1234, "gid": 1234}
    bundle.config["hooks"] = {"startContainer": [hook(f"id -u > {notes}/user")]}
    oci.run(bundle, "true")
    assert (notes / "user").read_text() == "1234\n"


@pytest.mark.parametrize("kind", ["prestart", "createContainer", "poststop"])
def test_a_hook_inherits_its_streams_only_and_the_command_what_is_preserved(
    oci: Oci, bundle: Bundle, notes: Path, kind: str
) -> None:
    bundle.config["hooks"] = {kind: [hook(f"ls /proc/self/fd > {notes}/hook")]}
    oci.save(bundle, f"cat <&4 > {notes}/command")
    words = [*oci.command, "run", "--preserve-fds", "2", "--bundle", str(bundle.path), oci.new_id()]
    # 3 is not open; 5 is, but it must not be passed on.
    script = 'echo kept > "$0"; exec "$@" 4< "$0" 5< "$0"'
    subprocess.run(["sh", "-c", script, str(bundle.path / "kept"), *words], check=True, timeout=30)
    assert (notes / "command").read_text() == "kept\n"
    # The last one is the directory that ls reads.
    assert (notes / "hook").read_text().split() == ["0", "1", "2", "3"]


def test_a_hook_may_leave_a_process_behind(oci: Oci, bundle: Bundle, notes: Path) -> None:
    bundle.config["hooks"] = {"prestart": [hook(f"sleep 100 & echo $! > {notes}/pid")]}
    try:
        assert oci.output(bundle, "echo done") == "done\n"
    finally:
        os.kill(int((notes / "pid").read_text()), signal.SIGKILL)


def test_they_leave_descriptors_to_the_command(oci: Oci, bundle: Bundle) -> None:
    bundle.config["hooks"] = {kind: [hook("test ! -e /proc/self/fd/3")] for kind in IN_ORDER[:3]}
    oci.save(bundle, "cat <&3")
    (bundle.path / "file").write_text("content\n")
    command = [*oci.command, "run", "--preserve-fds", "1", "--bundle", str(bundle.path), oci.new_id()]
    line = ["sh", "-c", f'exec "$@" 3< {bundle.path}/file', "sh", *command]
    done = subprocess.run(line, check=False, capture_output=True, text=True, timeout=60)
    assert done.stdout == "content\n", done.stderr
