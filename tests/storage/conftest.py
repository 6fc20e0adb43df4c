"""Fixtures for tests of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from minirun.model.layout import Layout

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "root"), str(tmp_path / "state"))
