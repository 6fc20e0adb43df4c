"""The flags of `update` become linux.resources, with sizes as Docker's and runc's users write them."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING

import pytest

from minirun.errors import MinirunError
from minirun.runtime.compat.update_flags import of_flags

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("67108864", 67108864),
        ("50M", 50 << 20),
        ("50mb", 50 << 20),
        ("50MiB", 50 << 20),
        ("1.5g", 3 << 29),
        ("2 k", 2048),
        ("7b", 7),
        ("-1", -1),
    ],
)
def test_sizes(text: str, number: int) -> None:
    assert of_flags({"memory": text}) == {"memory": {"limit": number}}


@pytest.mark.parametrize("text", ["", "m", "x", "1x", "1.m.2", "--1", "1.5.5g", "-1m"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(MinirunError, match="--memory"):
        of_flags({"memory": text})


def test_every_flag() -> None:
    flags = {
        "memory": "1m",
        "memory-reservation": "1k",
        "memory-swap": "-1",
        "cpu-period": "1000",
        "cpu-quota": "-1",
        "cpu-burst": "5",
        "cpu-share": "7",
        "cpu-idle": "1",
        "cpu-rt-period": "9",
        "cpu-rt-runtime": "8",
        "cpuset-cpus": "0-1",
        "cpuset-mems": "0",
        "pids-limit": "-1",
        "blkio-weight": "10",
    }
    assert of_flags(flags) == {
        "memory": {"limit": 1 << 20, "reservation": 1024, "swap": -1},
        "cpu": {
            "period": 1000, "quota": -1, "burst": 5, "shares": 7, "idle": 1, "cpus": "0-1", "mems": "0",
            "realtimePeriod": 9, "realtimeRuntime": 8,
        },
        "pids": {"limit": -1},
        "blockIO": {"weight": 10},
    }  # fmt: skip


def test_a_file_or_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resources = {"pids": {"limit": 5}}
    path = tmp_path / "resources.json"
    path.write_text(json.dumps(resources))
    assert of_flags({"resources": str(path)}) == resources
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(resources)))
    assert of_flags({"resources": "-"}) == resources
    path.write_text("[]")
    with pytest.raises(MinirunError, match="not a JSON object"):
        of_flags({"resources": str(path)})
    path.write_text("{")
    with pytest.raises(MinirunError, match="not JSON"):
        of_flags({"resources": str(path)})
    with pytest.raises(MinirunError, match="nowhere"):
        of_flags({"resources": "/nowhere"})
