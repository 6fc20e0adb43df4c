"""Once a container's process has closed its imports, no module can be loaded: what it needs later is in one list."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from minirun.model.spec import Process
from minirun.runtime.create.child import ChildPlan
from minirun.runtime.create.child_imports import import_for_child
from minirun.runtime.rootfs import mount_plan
from minirun.runtime.rootfs.mount_options import Options
from minirun.runtime.rootfs.mount_plan import MountPlan

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).resolve().parents[2] / "minirun"
# The modules in which the processes that close their imports begin.
CHILD = {"minirun.runtime.create.child", "minirun.runtime.create.joiner"}
LIST = "minirun.runtime.create.child_imports"
# Functions that the child does not use, of modules that it does: they are called in processes that can import.
ELSEWHERE = {
    "minirun.kernel.limits": {"allow_open_files", "limit_open_files"},
    "minirun.kernel.privilege": {"become_helper"},
    "minirun.kernel.process": {"prepare_to_run_programs", "start_program"},  # the list calls the first
    "minirun.kernel.session.terminal": {
        "make_raw",
        "process_output",
        "restore",
        "prepare_terminals",
        "window_size",
        "_until_done",
    },
    # A tracer is set before anything is made, and set_tracer imports what it takes to tell it about operations.
    "minirun.kernel.trace": {"set_tracer", "forward_to", "event_from_json", "_shell_line"},
    "minirun.model.jsontext": {"loads"},  # only for what is not JSON, which the parent does not send
    "minirun.runtime.rootfs.mount_plan": {"_mapping"},  # the parent plans
}


def path_of(module: str) -> Path | None:
    path = PACKAGE.parent / module.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            whole = f"{node.module}.{alias.name}"
            yield whole if path_of(whole) else node.module


def read(module: str) -> tuple[set[str], set[str]]:
    """Return what a module imports when it is imported itself, and what its functions import later."""
    path = path_of(module)
    if path is None:
        return set(), set()
    at_once, later = set(), set()
    for statement in ast.parse(path.read_text()).body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            at_once |= set(imported(statement))
        elif isinstance(statement, ast.FunctionDef | ast.ClassDef) and statement.name not in ELSEWHERE.get(module, ()):
            later |= {name for node in ast.walk(statement) for name in imported(node)}
    return at_once, later


def with_all_they_import(modules: set[str]) -> set[str]:
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += read(module)[0]
    return found


def test_what_the_child_imports_late_is_in_the_list() -> None:
    listed = read(LIST)[1] | {"select", "fcntl", "struct", "termios"}  # by the functions prepare_...
    loaded = with_all_they_import(CHILD | listed)
    late = {module: read(module)[1] - loaded for module in loaded}
    assert {module: names for module, names in late.items() if names} == {}


def test_what_is_in_the_list_is_imported_late_by_the_child() -> None:
    always = with_all_they_import(CHILD)
    late = {name for module in with_all_they_import(CHILD | read(LIST)[1]) for name in read(module)[1]}
    assert read(LIST)[1] - late - {"minirun.kernel.session.terminal"} == set(), "nothing imports this later"
    assert read(LIST)[1] & always == set(), "this is imported at once"


def mount(kind: str, options: Options | None = None) -> MountPlan:
    return MountPlan(0, kind, "", "", "", "tmpfs", "", "/x", options or Options())


@pytest.mark.parametrize(
    ("changes", "module"),
    [
        ({"process": Process(cwd="/", args=("x",), terminal=True)}, "minirun.runtime.process.console"),
        ({"mounts": (mount(mount_plan.NEW, Options(copy_up=True)),)}, "minirun.runtime.rootfs.populate"),
        ({"mounts": (mount(mount_plan.HIERARCHIES),)}, "minirun.runtime.rootfs.cgroup_v1_mount"),
        ({"mounts": (mount(mount_plan.JOINED_PROC),)}, "minirun.runtime.rootfs.joined_procfs"),
    ],
)
def test_a_plan_says_what_is_needed(changes: dict[str, object], module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, module, raising=False)
    plan = ChildPlan("x", Process(cwd="/", args=("x",)), None, (0, 1, 2), -1, -1)
    import_for_child(plan)
    assert module not in sys.modules
    import_for_child(plan.replace(**changes))
    assert module in sys.modules


def test_no_module_can_be_loaded_once_imports_are_closed() -> None:
    program = "from minirun.kernel.process import close_imports; close_imports(); import colorsys"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.endswith("ModuleNotFoundError: No module named 'colorsys'\n")
