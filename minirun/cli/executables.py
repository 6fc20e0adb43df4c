"""The executables, and beside each the file with the modules that it imports.

To import a module, Python looks for it in folders, compares its cached code with its source and reads it. For the 45
modules between `minirun-oci run` and a container that takes 10 ms: as long as Python itself takes to start, and a third
of what runc takes for everything. Out of one file it takes 6. A module whose source has changed since, or that is not
in the file, is imported as ever.

`python -m minirun.cli.executables BIN LIB` writes the executables into the folder BIN and those files into LIB.
"""

from __future__ import annotations

import ast
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import CodeType

ENTRIES = {"minirun": "minirun.cli.entry", "minirun-oci": "minirun.cli.oci"}
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# -I and -S pass by `site`: starting takes half the time, and neither PYTHON* variables nor the current folder can slip
# a module in.
LAUNCHER = """\
#!{python} -IS
import marshal
import sys

sys.path += {paths!r}
try:
    with open({packed!r}, "rb") as file:
        contents = memoryview(file.read())
except OSError:
    pass  # everything is imported as ever
else:
    code, index = marshal.loads(contents)
    loader = {{}}
    exec(code, loader)
    loader["install"](index, contents)

from {entry} import main

sys.exit(main())
"""


def write(bin_folder: str, lib_folder: str, python: str, paths: Sequence[str]) -> None:
    """Write both executables and their files of modules, for the interpreter `python` with these paths to import from.

    Raises OSError.
    """
    os.makedirs(bin_folder, exist_ok=True)
    os.makedirs(lib_folder, exist_ok=True)
    for name, entry in ENTRIES.items():
        packed = os.path.join(lib_folder, f"{name}.modules")
        _replace(packed, pack(entry), 0o644)
        text = LAUNCHER.format(python=python, paths=list(paths), packed=packed, entry=entry)
        _replace(os.path.join(bin_folder, name), text.encode(), 0o755)


def pack(entry: str) -> bytes:
    """Return the code of `entry` and of all that it imports, however late, behind their loader and an index of them."""
    index, contents = {}, b""
    for name in sorted(imported_from(entry)):
        file = _file_of(name)
        status = os.stat(file)
        end = len(contents)
        contents = marshal.dumps(_compile(file)) + contents
        index[name] = (file, int(status.st_mtime), status.st_size, len(contents), end)
    return marshal.dumps((_compile(f"{PACKAGE}/cli/packed.py"), index)) + contents


def imported_from(entry: str) -> set[str]:
    """Return the names of minirun's own modules that are imported by `entry` or by one of them, itself included."""
    found: set[str] = set()
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        if name in found or not _file_of(name):
            continue
        found.add(name)
        waiting.append(name.rpartition(".")[0])  # importing a.b imports a
        with open(_file_of(name), encoding="utf-8") as file:
            waiting += _imports(ast.parse(file.read()))
    return found


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _file_of(name: str) -> str:
    """Return the source file of one of minirun's modules, "" for what is none."""
    top, *parts = name.split(".")
    if top != "minirun":
        return ""
    path = "/".join((PACKAGE, *parts))
    return next((file for file in (f"{path}.py", f"{path}/__init__.py") if os.path.isfile(file)), "")


def _compile(file: str) -> CodeType:
    """Return a module's code. Its `from __future__ import annotations` is carried out here: that is an import, too."""
    with open(file, encoding="utf-8") as source:
        tree = ast.parse(source.read(), file)
    tree.body = [node for node in tree.body if not (isinstance(node, ast.ImportFrom) and node.module == "__future__")]
    code: CodeType = compile(tree, file, "exec", flags=annotations.compiler_flag, dont_inherit=True)
    return code


def _replace(path: str, contents: bytes, mode: int) -> None:
    """Write a file in one step: who starts meanwhile finds the old one or the new one."""
    descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(contents)
    os.rename(f"{path}.new", path)


if __name__ == "__main__":
    write(sys.argv[1], sys.argv[2], sys.executable, [os.path.dirname(PACKAGE)])
