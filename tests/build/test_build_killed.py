"""Builds that are killed at any moment, or find the disk full: the store works, and nothing is left."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.eventually import eventually
from support.host import reap_orphans

if TYPE_CHECKING:
    from .conftest import Builder

TIMES = 5
FILES = 300
MANY = """\
FROM busybox AS a
COPY many /many
RUN --mount=target=/c --mount=type=cache,target=/cache --mount=type=secret,id=s cp -r /c/many /copy; ls /run/secrets/s
FROM busybox AS b
WORKDIR /made/here
RUN --mount=target=/ctx,rw touch /ctx/x && for i in 1 2 3; do echo $i > $i; done
ADD many.tar /unpacked
FROM busybox
COPY --from=a /many /copy /all/
COPY --from=b /made /unpacked /all/
RUN rm -r /all/0
"""
# The store is so small that there is no room for busybox, but for its one program.
SMALL = 'FROM scratch\nCOPY box /\nSHELL ["/bin/sh", "-c"]\nRUN echo 1 > /before\n'


def left() -> list[str]:
    """Return what a build may not leave: mounts and containers."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    mounts = [line for line in lines if re.search("/(lib|run)/minirun/", line)]
    places = ("/var/lib/minirun/containers", "/run/minirun/bundles", "/run/minirun/runtime")
    names = [os.path.join(place, name) for place in places if Path(place).is_dir() for name in os.listdir(place)]
    return mounts + [path for path in names if re.fullmatch("[0-9a-f]{64}", os.path.basename(path))]


def nothing_left() -> bool:
    reap_orphans()
    return not left()


@pytest.mark.parametrize("kill", [os.kill, os.killpg], ids=["the-command", "all-of-it"])
def test_a_build_is_killed_at_any_moment(builder: Builder, tmp_path: Path, kill: object) -> None:
    builder.write({f"many/{number}": "x" * number for number in range(FILES)})
    subprocess.run(["tar", "-cf", "many.tar", "many"], cwd=builder.context, check=True)
    secret = tmp_path / "secret"
    secret.write_text("token")
    flags = ("--secret", f"id=s,src={secret}")
    start = time.monotonic()
    builder(MANY, "--no-cache", *flags)
    whole = time.monotonic() - start
    for _ in range(TIMES):
        command = ("build", "--no-cache", *flags, builder.context)
        with builder.minirun.start(*command, own_group=True) as process:
            time.sleep(random.uniform(0, whole))
            assert callable(kill)
            kill(process.pid, signal.SIGKILL)
        eventually(lambda: builder.minirun("ps") and nothing_left())  # a shim may have been about to come up
    builder(MANY, *flags)
    assert builder.shell("cat /all/299 | wc -c; ls /all | wc -l; ls /all/here | wc -l") == "299\n301\n3\n"
    assert left() == []
    assert os.listdir("/var/lib/minirun/ingest") == [], "the next build removes what was about to come into the store"


@pytest.mark.parametrize(
    "line",
    [
        "RUN head -c 30000000 /dev/zero > /f",
        "COPY large /f",
        "ADD large.tar /",
        "RUN --mount=type=cache,target=/c head -c 30000000 /dev/zero > /c/f",
    ],
)
def test_the_disk_is_full(builder: Builder, tmp_path: Path, line: str) -> None:
    programs = builder.context / "box/bin"
    programs.mkdir(parents=True)
    shutil.copy("/bin/busybox", programs / "sh")
    (programs / "head").hardlink_to(programs / "sh")
    (builder.context / "large").write_bytes(b"x" * 30_000_000)
    subprocess.run(["tar", "-cf", "large.tar", "large"], cwd=builder.context, check=True)
    root = tmp_path / "small"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "small", root], check=True)
    try:
        builder.write({"Dockerfile": f"{SMALL}{line}\n"})
        store = ("--root", root)
        done = builder.minirun(*store, "build", "--network=none", builder.context, check=False)
        assert done.returncode == 1
        assert "exit code: 1" in done.stderr if line.startswith("RUN") else "No space left on device" in done.stderr
        assert "Dockerfile:5" in done.stderr
        assert [
            *os.listdir(root / "ingest"),
            *os.listdir(root / "containers"),
            *os.listdir(root / "blobs/sha256"),
        ] == []
        builder.minirun(*store, "builder", "prune", "-af")
        builder.write({"Dockerfile": f"{SMALL}RUN echo 2 > /after\n"})
        builder.minirun(*store, "build", "--network=none", builder.context)
    finally:
        subprocess.run(["umount", root], check=True)
