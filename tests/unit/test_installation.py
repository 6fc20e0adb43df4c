"""What provisioning installs: all that minirun needs at run time, and little else."""

from __future__ import annotations

import re
import subprocess
from importlib.metadata import distribution
from pathlib import Path


def needed_at_run_time() -> set[str]:
    """Return the names of minirun and of all that it depends on, without the extras for tests."""
    found: set[str] = set()
    new = {"minirun"}
    while new:
        name = new.pop()
        found.add(name)
        requirements = distribution(name).requires or []
        # Those with a condition are for other systems, for extras, or only for building, such as cffi's parser of C.
        named = {re.split(r"[^\w.-]", text)[0].lower() for text in requirements if ";" not in text}
        new |= named - found
    return found


def test_what_minirun_needs_is_small() -> None:
    files = {Path(file.locate()) for name in needed_at_run_time() for file in distribution(name).files or []}
    sizes = {file: file.stat().st_size for file in files if file.exists()}
    assert sum(sizes.values()) < 16 << 20, sorted(sizes.items(), key=lambda item: -item[1])[:10]


def test_libraries_carry_no_debugging_symbols() -> None:
    libraries = [
        str(path)
        for name in needed_at_run_time()
        for file in distribution(name).files or []
        if (path := Path(file.locate())).suffix == ".so" and path.exists()
    ]
    assert len(libraries) >= 4
    told = subprocess.run(["readelf", "--section-headers", "--wide", *libraries], capture_output=True, check=True)
    assert b".symtab" not in told.stdout
    assert b".debug_info" not in told.stdout
