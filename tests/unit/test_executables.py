"""The executables import their modules from one file, as long as it agrees with the sources."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import minirun
from minirun.launcher import executables

LOADERS = """
import sys
loaders = {name: type(module.__spec__.loader).__name__ for name, module in sys.modules.items() if "minirun" in name}
print(loaders["minirun.cli.grammar"], loaders["minirun.cli.oci.main"], len(set(loaders.values())))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a directory with a copy of the package and, in bin, executables of it."""
    shutil.copytree(Path(minirun.__file__).parent, tmp_path / "minirun", symlinks=True)
    paths = [str(tmp_path), *(path for path in sys.path if path.endswith("site-packages"))]
    script = "import sys; from minirun.launcher.executables import write; write(*sys.argv[1:4], sys.argv[4:])"
    command = [sys.executable, "-c", script, tmp_path / "bin", tmp_path / "lib", sys.executable, *paths]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": ""}
    subprocess.run(command, check=True, cwd=tmp_path, env=environment)
    return tmp_path


def output_of(path: Path, *arguments: str) -> str:
    return subprocess.run([path, *arguments], check=True, capture_output=True, text=True, cwd="/").stdout


def loaders(copy: Path) -> list[str]:
    """Return the kinds of loaders of two modules, and how many kinds there are among all modules."""
    probe = copy / "bin" / "probe"
    lines = (copy / "lib" / "scripts" / "minirun-oci").read_text().splitlines()
    probe.write_text("\n".join([*lines[:-1], LOADERS]))
    probe.chmod(0o755)
    return output_of(probe).split()


def test_every_module_comes_out_of_the_file(copy: Path) -> None:
    assert output_of(copy / "bin" / "minirun-oci", "--version").startswith("minirun-oci version")
    assert output_of(copy / "bin" / "minirun", "--version").startswith("minirun")
    assert loaders(copy) == ["PackedModules", "PackedModules", "1"]


def test_without_the_file_everything_is_imported_as_ever(copy: Path) -> None:
    (copy / "lib/minirun-oci.modules").unlink()
    assert loaders(copy) == ["SourceFileLoader", "SourceFileLoader", "1"]


@pytest.mark.parametrize("change", ["size", "time"])
def test_a_module_that_has_changed_is_imported_from_its_source(copy: Path, change: str) -> None:
    source = copy / "minirun/cli/grammar.py"
    before = source.stat()
    text = source.read_text()
    source.write_text(f"{text}\n# changed\n" if change == "size" else text)
    os.utime(source, (before.st_atime, before.st_mtime + (1 if change == "time" else 0)))
    assert loaders(copy) == ["SourceFileLoader", "PackedModules", "2"]


def test_a_package_that_has_changed(copy: Path) -> None:
    """Its modules still come from the file."""
    with (copy / "minirun/cli/__init__.py").open("a") as package:
        package.write("# changed\n")
    assert loaders(copy) == ["PackedModules", "PackedModules", "2"]


def test_a_file_that_is_replaced_meanwhile_is_read_no_more(copy: Path) -> None:
    """By a new installation: what this command still imports would be at other places in there."""
    probe = copy / "bin" / "probe"
    lines = (copy / "lib" / "scripts" / "minirun-oci").read_text().splitlines()
    replace = """
import os, sys
with open({path!r} + ".new", "wb") as new:
    new.write(b"another")
os.rename({path!r} + ".new", {path!r})
from minirun.runtime import lifecycle
for name in ("minirun.cli.grammar", "minirun.runtime.lifecycle"):
    print(type(sys.modules[name].__spec__.loader).__name__)
""".format(path=str(copy / "lib/minirun-oci.modules"))
    probe.write_text("\n".join([*lines[:-1], replace]))
    probe.chmod(0o755)
    assert output_of(probe) == "PackedModules\nSourceFileLoader\n"


def test_what_readers_need_is_left_out_but_for_help(copy: Path) -> None:
    probe = copy / "bin" / "probe"
    lines = (copy / "lib" / "scripts" / "minirun-oci").read_text().splitlines()
    check = """
from minirun.model.record import Record
from minirun.runtime import lifecycle
print(lifecycle.__doc__, lifecycle.create.__doc__, lifecycle.create.__annotations__, main.__doc__)
print(lifecycle.CreateOptions(no_pivot=True).no_pivot)
"""
    probe.write_text("\n".join([*lines[:-1], check]))
    probe.chmod(0o755)
    assert output_of(probe) == "None None {} Run one call and exit with its code.\nTrue\n"
    assert "Make a container from a bundle" in output_of(copy / "bin" / "minirun-oci", "create", "--help")


def test_what_is_imported_in_functions_is_in_the_file() -> None:
    names = executables.imported_from("minirun.cli.oci.main")
    assert {
        "minirun",
        "minirun.cli",
        "minirun.cli.oci.main",
        "minirun.cli.oci.update",
        "minirun.runtime.create.child",
        "minirun.runtime.cgroup.systemd.scope",
    } <= names
    named = {"minirun.cli.verbs.container.ps", "minirun.cli.verbs.system.explain", "minirun.cli.help.advice"}
    assert named <= executables.imported_from("minirun.cli.entry")
    assert not any(name.startswith(("minirun.engine", "minirun.storage", "minirun.network")) for name in names)


def test_what_pip_installs_writes_its_file_at_the_first_call(copy: Path) -> None:
    def call() -> str:
        script = "from minirun.launcher.start import minirun_oci; minirun_oci()"
        environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONSAFEPATH": ""}
        command = [sys.executable, "-X", "importtime", "-c", script, "--version"]
        done = subprocess.run(command, check=True, cwd="/", env=environment, capture_output=True, text=True)
        assert done.stdout.startswith("minirun-oci version")
        return done.stderr

    def written() -> list[int]:
        return [path.stat().st_ino for path in (copy / "minirun/launcher").glob("minirun-oci.*.modules")]

    assert "minirun.launcher.executables" in call()
    first = written()
    assert len(first) == 1
    assert "minirun.launcher.executables" not in call()
    assert written() == first

    with (copy / "minirun/__init__.py").open("a") as package:
        package.write("# another version\n")
    call()
    assert written() not in ([], first)
