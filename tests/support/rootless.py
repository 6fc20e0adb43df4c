"""A user without root, with ranges of ids of their own, on the test's host."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import minirun as package

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME, UID = "rootless", 4321
RUNTIME_DIRECTORY = Path(f"/run/user/{UID}")  # where a session has it, and short enough for sockets below
# Two ranges, as for a user who was given more ids later (subuid(5)).
RANGES = ((600_000, 65536), (800_000, 1000))


def make_user(place: Path) -> dict[str, str]:
    """Add the user to this mount namespace's /etc, once; return their environment. `place` is for their files."""
    if f"\n{NAME}:" not in Path("/etc/passwd").read_text():
        with open("/etc/passwd", "a") as passwd, open("/etc/group", "a") as group:
            passwd.write(f"{NAME}:x:{UID}:{UID}::/:/bin/sh\n")
            group.write(f"{NAME}:x:{UID}:\n")
        for file in ("/etc/subuid", "/etc/subgid"):
            with open(file, "a") as ranges:
                ranges.writelines(f"{NAME}:{first}:{count}\n" for first, count in RANGES)
    place.chmod(0o755)
    home = place / "home"
    for directory in (home, RUNTIME_DIRECTORY):
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
        os.chown(directory, UID, UID)
    return {"PATH": os.environ["PATH"], "HOME": str(home), "USER": NAME, "XDG_RUNTIME_DIR": str(RUNTIME_DIRECTORY)}


def as_user(environment: dict[str, str], command: Sequence[str | Path]) -> list[str]:
    """Return the command line that runs a command as the user, with this environment and nothing of root's."""
    variables = [f"{name}={value}" for name, value in environment.items()]
    user = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--init-groups"]
    return [*user, "env", "--ignore-environment", *variables, *map(str, command)]


def copy_of_runtime(place: Path) -> Path:
    """Return a minirun-oci that everybody may run: what the tests import may be in a directory that is root's alone."""
    directory = place / "runtime"
    shutil.copytree(Path(package.__file__).parent, directory / "minirun", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (Path(path) for path in sys.path if path.endswith("site-packages")):
        for found in [*path.glob("_cffi_backend*"), *path.glob("jeepney")]:
            (shutil.copytree if found.is_dir() else shutil.copy)(found, directory / found.name)
    executable = directory / "minirun-oci"
    # Debian's Python, as provisioning uses it: the one that runs the tests may not be accessible to everybody.
    lines = ["#!/usr/bin/python3 -IS", "import sys", f"sys.path.append({str(directory)!r})"]
    executable.write_text("\n".join([*lines, "from minirun.cli.oci.main import main", "sys.exit(main())", ""]))
    executable.chmod(0o755)
    subprocess.run(["chmod", "--recursive", "a+rX", directory], check=True)
    return executable
