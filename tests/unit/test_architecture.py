"""The shape of the code, enforced: what imports what, what starting may cost, what an operation says about itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).resolve().parents[2] / "minirun"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text(), str(path)) for name, path in MODULES.items()}

# model, errors <- kernel <- {storage, runtime, network} <- engine <- build <- cli <- launcher; explain is below cli
GROUND = {"errors", "model"}
LAYERS = {
    "errors": set(),
    "model": GROUND,
    "kernel": GROUND | {"kernel"},
    "storage": GROUND | {"kernel", "storage"},
    "runtime": GROUND | {"kernel", "runtime"},
    "network": GROUND | {"kernel", "network"},
    "registry": GROUND | {"kernel", "storage", "registry"},
    "engine": GROUND | {"kernel", "storage", "runtime", "network", "registry", "engine"},
    "explain": GROUND | {"kernel", "explain"},
    "build": GROUND | {"kernel", "storage", "runtime", "network", "registry", "engine", "build"},
    "launcher": GROUND | {"kernel", "launcher", "cli"},
    "cli": GROUND | {"kernel", "storage", "runtime", "network", "registry", "engine", "build", "explain", "cli"},
}

# Modules that `minirun run` must not pay for. click needs a few of them itself; even so, minirun must not import them.
SLOW = {
    "asyncio", "dataclasses", "datetime", "enum", "http", "ipaddress", "logging", "pathlib", "pyroute2",
    "subprocess", "tarfile", "tempfile", "typing", "urllib",
}  # fmt: skip
RUN_PATH = (
    "minirun.cli.entry, minirun.cli.main, minirun.cli.verbs.container.run, "
    "minirun.engine.container.starting, minirun.engine.shim.launch"
)
OCI_PATH = "minirun.cli.oci.main, minirun.cli.oci.create, minirun.cli.oci.start"


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the name of each module that is imported, at any depth; `from a import b` gives a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"line {node.lineno}: imports must be absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_at_start(tree: ast.Module) -> Iterator[str]:
    """Yield what is imported when the module is, so neither in functions nor under TYPE_CHECKING."""
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            yield from imports(statement)


def called(node: ast.Call) -> tuple[str, str]:
    """Return the module and the name of what is called: ("os", "open"), or ("", "open") for a plain name."""
    if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
        return node.func.value.id, node.func.attr
    return "", node.func.id if isinstance(node.func, ast.Name) else ""


def layer_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("module", [name for name in MODULES if layer_of(name)])
def test_imports_run_downward(module: str) -> None:
    allowed = LAYERS[layer_of(module)]
    for name in imports(TREES[module]):
        if name in MODULES and layer_of(name):
            assert layer_of(name) in allowed, name


def loaded(statement: str) -> set[str]:
    """Return the modules that are loaded after a statement, in a Python started as the executables start it."""
    paths = [str(PACKAGE.parent), *(path for path in sys.path if path.endswith("site-packages"))]
    # The installed package is used where there is one: it has the compiled parts.
    program = f"import sys; sys.path += {paths[::-1]!r}\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-IS", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_starting_run_stays_cheap() -> None:
    assert loaded(f"import {RUN_PATH}") & (SLOW | {"click", "inspect", "minirun.runtime.create.child"}) == set()


def test_starting_the_oci_runtime_stays_cheap() -> None:
    assert loaded(f"import {OCI_PATH}") & (SLOW | {"click"}) - loaded("import json, signal, socket") == set()


def test_modules_on_the_way_to_a_container_import_nothing_slow() -> None:
    on_the_way = loaded(f"import {RUN_PATH}") | loaded(f"import {OCI_PATH}")
    slow = {
        module: found
        for module in sorted(on_the_way & MODULES.keys())
        if (found := {name.split(".")[0] for name in imports_at_start(TREES[module])} & SLOW)
    }
    assert slow == {}


@pytest.mark.parametrize("module", [name for name in MODULES if layer_of(name) in {"kernel", "runtime"}])
def test_public_names_have_docstrings(module: str) -> None:
    assert ast.get_docstring(TREES[module]), "the module has no docstring"
    for node in TREES[module].body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"line {node.lineno}: {node.name} has no docstring"


def operations() -> Iterator[tuple[str, ast.FunctionDef, ast.Call]]:
    """Yield each function that carries @operation, with its module and the decorator."""
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            for decorator in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
                if isinstance(decorator, ast.Call) and called(decorator)[1] == "operation":
                    assert isinstance(node, ast.FunctionDef)
                    yield module, node, decorator


def test_operations_name_their_manual_page() -> None:
    found = list(operations())
    assert len(found) > 20
    for module, function, decorator in found:
        values = [*decorator.args[:1], *(keyword.value for keyword in decorator.keywords if keyword.arg == "man")]
        man = values[0].value if values and isinstance(values[0], ast.Constant) else None
        assert isinstance(man, str), f"{module}.{function.name} has no man page"
        assert re.search(r"[\w-]+\(\d\w*\)", man), f"{module}.{function.name}: {man!r} is not a manual page"


def test_operations_are_in_kernel() -> None:
    assert {module for module, _, _ in operations() if layer_of(module) != "kernel"} == set()


def test_equivalent_shell_lines_name_real_parameters() -> None:
    for module, function, decorator in operations():
        parameters = {argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)}
        for value in [*decorator.args[1:2], *(k.value for k in decorator.keywords if k.arg == "shell")]:
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                places = set(re.findall(r"\{(\w+)", value.value))
                assert places <= parameters, f"{module}.{function.name}: {places - parameters}"


def test_test_files_have_names_of_their_own() -> None:
    """pytest imports each by its bare name: of two files with the same one it could not import the second."""
    names = [path.name for path in Path(__file__).parents[1].rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
