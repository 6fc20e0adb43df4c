"""What the tests of builds share."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.commands import Minirun


class Builder:
    """Builds in a context of a test's own: `builder("FROM busybox", "--no-cache", files={"a": "text"})`."""

    def __init__(self, minirun: Minirun, context: Path) -> None:
        self.minirun = minirun
        self.context = context
        context.mkdir()

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.context / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def __call__(
        self, dockerfile: str, *flags: str | Path, files: dict[str, str] | None = None, code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Build the context as the image `built`; check the exit code."""
        self.write({"Dockerfile": dockerfile, **(files or {})})
        done = self.minirun("build", "--progress=plain", "-t", "built", *flags, self.context, check=False)
        assert done.returncode == code, done.stderr
        return done

    def run(self, *command: str) -> str:
        """Run a command in what was built; return its standard output."""
        return self.minirun("run", "--rm", "--network=none", "built", *command).stdout

    def shell(self, line: str) -> str:
        return self.run("sh", "-c", line)

    def cached(self, dockerfile: str, *flags: str | Path, files: dict[str, str] | None = None) -> list[bool]:
        """Build, and say of each step whether it was in the cache."""
        lines = self(dockerfile, *flags, files=files).stderr.splitlines()
        ends = {line.split()[0]: line.split()[1] for line in lines if line.split()[1:2] in (["CACHED"], ["DONE"])}
        return [end == "CACHED" for end in ends.values()]


@pytest.fixture
def builder(minirun: Minirun, busybox_image: str, tmp_path: Path) -> Iterator[Builder]:  # noqa: ARG001
    """Gives what builds; images and the cache go after the test, and nothing else may be left."""
    before = set(minirun("images", "-q", "--no-trunc").stdout.split())
    yield Builder(minirun, tmp_path / "context")
    for image in set(minirun("images", "-q", "--no-trunc").stdout.split()) - before:
        minirun("rmi", "-f", image)
    minirun("builder", "prune", "-af")
