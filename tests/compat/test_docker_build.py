"""The same Dockerfiles, built by Docker with BuildKit and by minirun: the same files, config, and hits of the cache."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import zip_longest
from typing import TYPE_CHECKING

import pytest
from build_cases import read_cases
from build_engines import Docker, Minirun, steps
from caller import end, launch, machine
from docker_daemon import docker_daemon, succeeds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from build_cases import Case
    from build_engines import Builder

_LONG_AGO = 1_000_000_000
_PORT = "8765"
SUBJECTS = ("language", "config", "stages", "copy", "add", "run", "cache")
CASES = [case for subject in SUBJECTS for case in read_cases(subject)]
MISTAKES = read_cases("mistakes")


@pytest.fixture(scope="module")
def builders(place: Path, executables: Path, busybox_rootfs: Path) -> Iterator[tuple[Builder, Builder]]:
    """Start dockerd; return it and minirun as builders, both with an image `busybox`."""
    with machine() as (inside, manager):
        driver = f"--exec-opt=native.cgroupdriver={manager}"
        with docker_daemon(place, busybox_rootfs, inside, [driver]) as client:
            docker = Docker(
                ["/usr/bin/docker", *client.command[1:]], place / "data-root", {"DOCKER_CONFIG": str(place)}
            )
            minirun = Minirun(executables / "minirun")
            client("save", "--output", place / "busybox.tar", "busybox")
            minirun.run("load", "--input", place / "busybox.tar")
            with downloads(inside, place):
                yield docker, minirun


@contextmanager
def downloads(inside: Sequence[str], place: Path) -> Iterator[None]:
    """Serve an archive and a file on the loopback interfaces of dockerd and of this test."""
    served = place / "served"
    served.mkdir()
    script = f"echo content > file; mkdir d; echo 1 > d/f; tar -cf d.tar d; touch --date=@{_LONG_AGO} file d.tar"
    subprocess.run(["sh", "-euc", script], check=True, cwd=served)
    server = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", served, _PORT]
    url = f"http://127.0.0.1:{_PORT}/file"
    ask = [sys.executable, "-c", f"import urllib.request as r; r.urlopen({url!r}, timeout=5).read()"]
    daemons = []
    try:
        for prefix in (inside, []):
            log = place / f"served-{len(daemons)}.log"
            daemons.append(launch([*prefix, *server], log, lambda prefix=prefix: succeeds([*prefix, *ask])))
        yield
    finally:
        for daemon in daemons:
            end(daemon)


def prepared(directory: Path, script: str, dockerfile: str = "", number: int = 0) -> None:
    """Make or change a context by a script.

    The times of its files are those of the `number` of the change: BuildKit takes files of the same time and size for
    the same, and sends them once.
    """
    directory.mkdir(exist_ok=True)
    if dockerfile:
        (directory / "Dockerfile").write_text(dockerfile)
    stamp = f"find . -exec touch --no-dereference --date=@{_LONG_AGO + number} {{}} +"
    subprocess.run(["sh", "-euc", f"umask 022; {script}\n{stamp}"], check=True, cwd=directory)


def both(builders: tuple[Builder, Builder], context: Path, tag: str, *options: str) -> list[str]:
    """Build with both at the same time; return what they told."""
    with ThreadPoolExecutor(2) as pool:
        return list(
            pool.map(
                lambda builder: builder.build(context, tag, *(option.format(context=context) for option in options)),
                builders,
            )
        )


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_same_image(builders: tuple[Builder, Builder], tmp_path: Path, case: Case) -> None:
    if case.before:
        prepared(tmp_path / "before", "", case.before)
        both(builders, tmp_path / "before", "before")
    context, tag = tmp_path / "context", f"case-{case.name}"
    prepared(context, case.context, case.dockerfile)
    docker, minirun = map(steps, both(builders, context, tag, *case.options))
    found = [f"step {mine} is {theirs}" for theirs, mine in zip_longest(docker, minirun) if mine != theirs]
    docker_result, minirun_result = (builder.result(tag) for builder in builders)
    for part in sorted({*docker_result, *minirun_result}):
        theirs, mine = docker_result.get(part), minirun_result.get(part)
        if mine != theirs:
            found.append(f"{part}\n  Docker:  {theirs}\n  minirun: {mine}")
    assert not found, "\n".join(found)
    docker, minirun = map(steps, both(builders, context, tag, *case.options))
    assert minirun == docker
    assert all(cached for _, cached in minirun)
    for number, change in enumerate(case.changes, 1):
        prepared(context, change.script, number=number)
        docker, minirun = map(steps, both(builders, context, tag, *change.options))
        assert minirun == docker, f"change {number}: {change}"


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.name for mistake in MISTAKES])
def test_the_same_mistake(builders: tuple[Builder, Builder], tmp_path: Path, mistake: Case) -> None:
    context = tmp_path / "context"
    prepared(context, mistake.context, mistake.dockerfile)
    for builder in builders:
        done = builder.run("build", "--progress=plain", *mistake.options, context)
        assert done.returncode == 1
        for word in mistake.words:
            assert word.casefold() in done.stderr.casefold()
    if mistake.line:
        assert f"Dockerfile:{mistake.line}" in done.stderr
        assert ">>> " in done.stderr
