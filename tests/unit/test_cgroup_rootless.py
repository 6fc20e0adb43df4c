"""A user who may not make a cgroup does without one, and is told what that means for limits."""

from __future__ import annotations

from typing import Any

import pytest

from minirun.errors import MinirunError
from minirun.model.spec import Spec
from minirun.runtime.cgroup import manager


def choose(monkeypatch: pytest.MonkeyPatch, resources: dict[str, Any]) -> manager.CgroupTarget:
    monkeypatch.setattr(manager, "_may_make", lambda directory: False)  # noqa: ARG005
    spec = Spec.from_dict({"ociVersion": "1.2.0", "root": {"path": "rootfs"}, "linux": {"resources": resources}})
    return manager.choose(spec, "any", systemd=False, use_v1=True)


def test_without_limits_there_is_no_cgroup(monkeypatch: pytest.MonkeyPatch) -> None:
    place = choose(monkeypatch, {"devices": [{"allow": False, "access": "rwm"}], "pids": {"limit": 0}})
    assert (place.directory, place.unit, place.v1) == ("", "", {})


def test_a_limit_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MinirunError, match=r"linux\.resources\.pids\.limit: cannot set a limit without a cgroup"):
        choose(monkeypatch, {"pids": {"limit": 5}})
