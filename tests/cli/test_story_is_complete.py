"""The story of a container compared with strace(1), both ways: it has all that the kernel is asked for, and no more."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import strace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from support.commands import Minirun
    from support.oci_bundles import Bundle, Oci


def compare(tmp_path: Path, command: Sequence[str | Path], foreign: str = "") -> dict[int, list[str]]:
    """Run a command that tells its story as JSON on standard error; compare it, and return what was seen."""
    file = tmp_path / "strace"
    calls = ",".join(sorted(strace.CALLS))
    done = subprocess.run(
        ["strace", "-f", "-y", "--decode-pids=pidns", "-s", "256", "-o", file, "-e", f"trace={calls}", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    (tmp_path / "story").write_text(done.stderr)
    told = strace.told(json.loads(line) for line in done.stderr.splitlines() if line.startswith("{"))
    seen = strace.seen(file.read_text(), foreign)
    assert "\n".join(strace.unmatched(told, seen)) == ""
    return seen


def await_end_of_network_helper() -> None:
    """Wait until no helper of an earlier command runs, so that the next one starts its own."""
    for path in Path("/run/minirun/network").glob("helper-*.lock"):
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)


@pytest.mark.parametrize(
    "options",
    [
        ["--network=none"],
        ["--network=none", "--security-opt=no-new-privileges", "--user=user", "--read-only", "--init"],
        ["--publish=127.0.0.1::80", "--cap-drop=all"],
    ],
    ids=["plain", "with init", "on the bridge"],
)
def test_run(minirun: Minirun, busybox_image: str, tmp_path: Path, options: list[str]) -> None:
    """The story also has the making of mount points that the image lacks: a directory and a file."""
    await_end_of_network_helper()
    (tmp_path / "file").touch()
    mounts = [f"--volume={tmp_path}:/missing/below", f"--volume={tmp_path}/file:/new/file"]
    command = [minirun.executable, "--explain=json", "run", "--rm", *options, *mounts, busybox_image, "true"]
    seen = compare(tmp_path, command)
    every = {name for names in seen.values() for name in names}
    assert every >= {"fork", "clone3", "unshare", "mount", "fsmount", "open_tree", "move_mount", "mkdirat", "openat"}
    assert every >= {"pivot_root", "umount2", "seccomp", "capset", "execve", "execveat", "mkdir", "rmdir"}
    if "--network=none" not in options:
        assert every >= {"setns", "RTM_NEWLINK", "RTM_NEWADDR", "RTM_NEWROUTE", "spawn"}


def test_exec(minirun: Minirun, busybox_image: str, tmp_path: Path) -> None:
    minirun("run", "-d", "--name", "told", "--network=none", busybox_image, "sleep", "60")
    try:
        seen = compare(tmp_path, [minirun.executable, "--explain=json", "exec", "told", "true"])
    finally:
        minirun("rm", "-f", "told")
    assert {name for names in seen.values() for name in names} >= {"setns", "clone3", "seccomp", "capset", "execve"}


# minirun-oci has runc's command line, and so no flag for the story.
OCI = """
import sys
from minirun.cli.oci.main import main
from minirun.explain.printer import Printer

printer = Printer.start("json")
try:
    main()
finally:
    printer.finish()
"""


HOOK = "/bin/true"


def plain(bundle: Bundle) -> None:
    """The bundle of `minirun-oci spec`."""


def rich(bundle: Bundle) -> None:
    """A bundle that asks for a lot."""
    bundle.enrich(HOOK, ("createRuntime", "createContainer", "startContainer", "poststart", "poststop"))


@pytest.mark.parametrize("kind", [plain, rich])
def test_oci_run(oci: Oci, bundle: Bundle, tmp_path: Path, kind: Callable[[Bundle], None]) -> None:
    kind(bundle)
    oci.save(bundle, "true")
    command = [sys.executable, "-c", OCI, "--root", oci.root, "run", "--bundle", bundle.path, oci.new_id()]
    seen = compare(tmp_path, command, HOOK)
    every = {name for names in seen.values() for name in names}
    assert every >= {"clone3", "mount", "fsmount", "move_mount", "pivot_root", "umount2", "mkdirat", "mknodat"}
    assert every >= {"capset", "setresuid", "execve", "execveat", "mkdir", "rmdir"}
