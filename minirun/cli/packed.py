"""Modules out of one file: how an executable of minirun imports (executables.py writes the file and says why).

This module is part of every such file and is executed before anything else can be imported from there: it imports
nothing that is not built into Python.
"""

from __future__ import annotations

import marshal
import posix
import sys
from _frozen_importlib import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


class PackedModules:
    """Finds and loads modules by name (importlib.abc, MetaPathFinder and Loader).

    `contents` holds their marshalled code. `index` has by name the module's source file, that file's time of change in
    seconds and its size in bytes, and where in `contents` the code begins and ends, counted from the end.
    """

    def __init__(self, index: dict[str, tuple[str, int, int, int, int]], contents: memoryview) -> None:
        self._index = index
        self._contents = contents

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
        """Return how to load a module; None if it is not in the file, or not as its source is now."""
        if name not in self._index:
            return None
        file, changed, size, _, _ = self._index[name]
        try:
            status = posix.stat(file)
        except OSError:
            return None
        if int(status.st_mtime) != changed or status.st_size != size:
            return None
        spec = ModuleSpec(name, self, origin=file)  # type: ignore[arg-type] # importing importlib.abc takes 10 ms
        if file.endswith("/__init__.py"):
            spec.submodule_search_locations = [file.rpartition("/")[0]]
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """Let Python make the empty module."""

    def exec_module(self, module: ModuleType) -> None:
        """Execute a module's code in it."""
        file, _, _, begin, end = self._index[module.__name__]
        module.__file__ = file
        size = len(self._contents)
        exec(marshal.loads(self._contents[size - begin : size - end]), module.__dict__)


def install(index: dict[str, tuple[str, int, int, int, int]], contents: memoryview) -> None:
    """Have modules imported from `contents`."""
    sys.meta_path.insert(0, PackedModules(index, contents))
