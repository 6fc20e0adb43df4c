"""The executables, and beside each the file with the modules that it imports.

To import a module, Python looks for it in directories, compares its cached code with its source and reads it. For the
45 modules between `minirun-oci run` and a container that takes 10 ms: as long as Python itself takes to start, and a
third of what runc takes for everything. Out of one file it takes half of that. A module whose source has changed since
then, or that is not in the file, is imported in the usual way.

Both are small static programs, which leave the work to their scripts in Python: `minirun` (native/launcher.c) for the
sake of Ctrl-C alone, `minirun-oci` (native/oci_launcher.c) carries out the shortest verbs itself.

`python -m minirun.launcher.executables BIN LIB` writes the executables into the directory BIN, and into LIB what they
read.
"""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import marshal
import os
import struct
import sys
from functools import cache

from minirun.kernel.hostfiles import make_directories, replace
from minirun.launcher.packed import HEADER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import CodeType
    from typing import TypeVar

    Documented = TypeVar("Documented", ast.Module, ast.ClassDef, ast.FunctionDef)

ENTRIES = {"minirun": "minirun.cli.entry", "minirun-oci": "minirun.cli.oci.main"}
LAUNCHERS = {"minirun": "launcher", "minirun-oci": "oci_launcher"}  # the programs of native/ that they begin with
EXTENSIONS = ("_cffi_backend", "_json", "minirun.kernel._native")  # in C, and needed for nearly everything
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# -I and -S pass by `site`: starting takes half the time, and neither PYTHON* variables nor the current directory can
# slip a module in.
LAUNCHER = """\
#!{python} -IS
import _signal

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # until there is something to undo (cli/interrupts.py)
_signal.pthread_sigmask(_signal.SIG_UNBLOCK, [_signal.SIGINT])  # which native/become_python.h has blocked

import gc
import marshal
import posix
import sys

gc.disable()  # all that is made before `main` stays
sys.path += {paths!r}
try:
    file = posix.open({packed!r}, posix.O_RDONLY | posix.O_CLOEXEC)
except OSError:
    pass  # everything is imported in the usual way
else:
    length = int.from_bytes(posix.read(file, {header}))
    code, index, extensions = marshal.loads(posix.read(file, length - {header}))
    loader = {{}}
    exec(code, loader)
    loader["install"](index, extensions, {packed!r}, length, posix.fstat(file))
    posix.close(file)

from {entry} import main

gc.enable()
sys.exit(main())
"""


def write(bin_directory: str, lib_directory: str, python: str, paths: Sequence[str]) -> None:
    """Write both executables and their files of modules, for the interpreter `python` with these paths to import from.

    Raises OSError.
    """
    make_directories(bin_directory)
    make_directories(lib_directory)
    for name, entry in ENTRIES.items():
        packed = os.path.join(lib_directory, f"{name}.modules")
        replace(packed, pack(entry), 0o644)
        text = LAUNCHER.format(python=python, paths=list(paths), packed=packed, header=HEADER, entry=entry)
        script = os.path.join(lib_directory, "scripts", name)  # by this name ps(1) shows the process
        make_directories(os.path.dirname(script))
        replace(script, text.encode(), 0o755)
        replace(os.path.join(bin_directory, name), _launcher(LAUNCHERS[name], script), 0o755)


def _launcher(program: str, script: str) -> bytes:
    """Return one of the programs in native/, told at its end which script to run for all that it does not do itself."""
    with open(f"{PACKAGE}/native/bin/{program}", "rb") as file:
        code = file.read()
    path = os.fsencode(script) + b"\0"
    return code + path + b"%08d" % len(path)


def pack(entry: str) -> bytes:
    """Return the code of `entry` and of all that it imports, however late, behind their loader and an index of them.

    marshal writes a text once and refers to it from then on if it is always the same object: so names are interned.
    """
    names = set(map(sys.intern, imported_from(entry)))
    index, contents = {}, b""
    for name in sorted(names):
        file = _file_of(name)
        status = os.stat(file)
        code = marshal.dumps(_compile(file))
        needed = tuple(sys.intern(other) for other in _imports(_parse(file).body) if other in names)
        index[name] = (file, int(status.st_mtime), status.st_size, len(contents), len(code), needed)
        contents += code
    extensions = {name: path for name in EXTENSIONS if (path := _path_of_extension(name))}
    head = marshal.dumps((_compile(f"{PACKAGE}/launcher/packed.py"), index, extensions))
    return (HEADER + len(head)).to_bytes(HEADER) + head + contents


def imported_from(entry: str) -> set[str]:
    """Return the names of minirun's own modules that are imported by `entry` or by one of them, itself included."""
    found: set[str] = set()
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        if name in found or not _file_of(name):
            continue
        found.add(name)
        waiting += _with_parents(name)
        waiting += _imports(ast.walk(_parse(_file_of(name))))
    return found


def _imports(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Return what these nodes import, packages before what is in them."""
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from _with_parents(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "__import__":
            yield from _below(node.args[0])


def _below(name: ast.expr) -> Iterator[str]:
    """Return all modules of a package, for an import by a name that is known only then: f"package.{name}"."""
    package = ast.literal_eval(name.values[0]).rstrip(".") if isinstance(name, ast.JoinedStr) else ""
    top = f"{os.path.dirname(PACKAGE)}/{package.replace('.', '/')}"
    for directory, _, files in os.walk(top):
        inner = package + directory.removeprefix(top).replace("/", ".")
        yield from (f"{inner}.{file.removesuffix('.py')}" for file in files if file.endswith(".py"))


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _path_of_extension(name: str) -> str:
    """Return the file of a module in C, "" if it is built into Python or not there."""
    spec = importlib.util.find_spec(name)
    return spec.origin or "" if spec and isinstance(spec.loader, importlib.machinery.ExtensionFileLoader) else ""


def _file_of(name: str) -> str:
    """Return the source file of a module to pack, "" for what is none."""
    if name == "struct":  # of Python's own the one that is everywhere
        return struct.__file__
    top, *parts = name.split(".")
    if top != "minirun":
        return ""
    path = "/".join((PACKAGE, *parts))
    return next((file for file in (f"{path}.py", f"{path}/__init__.py") if os.path.isfile(file)), "")


def _compile(file: str) -> CodeType:
    """Return a module's code. Its `from __future__ import annotations` is carried out here: that is an import, too."""
    code: CodeType = compile(_parse(file), file, "exec", flags=annotations.compiler_flag, dont_inherit=True)
    return code


@cache
def _parse(file: str) -> ast.Module:
    """Return a module's tree without what only its readers and type checkers need."""
    with open(file, encoding="utf-8") as source:
        tree = ast.parse(source.read(), file)
    # --help prints what verbs say of themselves.
    keeps_docstrings = file.startswith(f"{PACKAGE}/cli/")
    _Executed(keeps_docstrings).visit(tree)
    return ast.fix_missing_locations(tree)


class _Executed(ast.NodeTransformer):
    """Leaves out docstrings, annotations of functions, and imports that are for type checkers or for the compiler."""

    def __init__(self, keeps_docstrings: bool) -> None:
        self._keeps_docstrings = keeps_docstrings

    def visit_Module(self, node: ast.Module) -> ast.Module:
        return self._without_docstring(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        return self._without_docstring(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = None
        return self._without_docstring(node)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        for_types = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return node.orelse if for_types else node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom | None:
        return None if node.module == "__future__" else node

    def _without_docstring(self, node: Documented) -> Documented:
        self.generic_visit(node)
        if ast.get_docstring(node, clean=False) is not None and not self._keeps_docstrings:
            node.body[0] = ast.Pass()
        return node


if __name__ == "__main__":
    # Not the link in a virtual environment: Python would look for that one's pyvenv.cfg and directories, for 1 ms.
    write(sys.argv[1], sys.argv[2], os.path.realpath(sys.executable), [os.path.dirname(PACKAGE)])
