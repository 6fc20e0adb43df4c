"""The linters, as tests: what they complain about fails like everything else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPTS = [
    str(path.relative_to(CHECKOUT))
    for pattern in ("scripts/*", "images/build", "images/*/rootfs", ".ci/run")
    for path in sorted(CHECKOUT.glob(pattern))
    if path.read_bytes().startswith((b"#!/bin/sh", b"#!/bin/bash"))
]


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "ruff", "format", "--check", "--no-cache", "."],
        ["-m", "ruff", "check", "--no-cache", "."],
        ["-m", "mypy", "--cache-dir", "/dev/null"],
    ],
    ids=["ruff format", "ruff check", "mypy"],
)
def test_python(command: list[str]) -> None:
    done = subprocess.run([sys.executable, *command], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_shell() -> None:
    done = subprocess.run(["shellcheck", *SCRIPTS], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
