"""Modules out of one file: how an executable of minirun imports (executables.py writes the file and says why).

This module is part of every such file and is executed before anything else can be imported from there: it imports
nothing that is not built into Python.
"""

from __future__ import annotations

import marshal
import posix
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import stat_result
    from types import ModuleType

    # Source file, its time of change in seconds, its size in bytes; where in the file of modules the code begins, in
    # bytes after the index, and its length; the modules that are imported where this one is, at its top level.
    Entry = tuple[str, int, int, int, int, tuple[str, ...]]

HEADER = 4  # bytes at the begin of a file of modules that say where its index ends


class PackedModules:
    """Finds and loads modules by name (importlib.abc, MetaPathFinder and Loader).

    `index` says by name where in the file `path` their marshalled code is, from `begin` on, and `status` what file that
    was; `extensions` are the paths of modules in C. The file is opened for each module: reading all of it takes longer
    than the thirtieth that a command needs, and a descriptor would get lost where a process closes what it has not
    opened itself.
    """

    def __init__(
        self, index: dict[str, Entry], extensions: dict[str, str], path: str, begin: int, status: stat_result
    ) -> None:
        self._index = index
        self._extensions = extensions
        self._path = path
        self._begin = begin
        self._status = status

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
        """Return how to load a module; None if it is not in the file, or not as its source is now.

        What it imports is loaded at once: Python's own way to a module takes as long as most of them take to execute.
        """
        if name in self._extensions:
            return self._extension(self._extensions[name], name)
        if name not in self._index or not self.is_as_its_source(name) or not (code := self._code(name)):
            return None
        for needed in self._index[name][5]:
            if needed not in sys.modules:
                self._load(needed)
        return self._spec(name, code)

    def create_module(self, spec: ModuleSpec) -> None:
        """Let Python make the empty module."""

    def exec_module(self, module: ModuleType) -> None:
        """Execute a module's code in it."""
        spec = module.__spec__
        assert spec is not None
        code, spec.loader_state = spec.loader_state, None
        module.__file__ = spec.origin
        exec(marshal.loads(code), module.__dict__)

    def _load(self, name: str) -> None:
        """Do what an import of the module would do, unless it has to be imported from its source."""
        parent, _, own = name.rpartition(".")
        spec = self.find_spec(name) if not parent or parent in sys.modules else None
        if spec is None:
            return
        module = type(sys)(name)
        module.__spec__ = spec
        module.__loader__ = self  # type: ignore[assignment]
        module.__package__ = spec.parent
        if spec.submodule_search_locations is not None:
            module.__path__ = spec.submodule_search_locations
        sys.modules[name] = module
        try:
            self.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        if parent:
            setattr(sys.modules[parent], own, module)

    def _extension(self, path: str, name: str) -> ModuleSpec | None:
        try:
            posix.stat(path)
        except OSError:
            return None  # it may be elsewhere now
        return ModuleSpec(name, ExtensionFileLoader(name, path), origin=path)

    def is_as_its_source(self, name: str) -> bool:
        """Say whether a module's source has not changed since the file was made."""
        file, changed, size, _, _, _ = self._index[name]
        try:
            status = posix.stat(file)
        except OSError:
            return False
        return int(status.st_mtime) == changed and status.st_size == size

    def _code(self, name: str) -> bytes:
        """Return a module's marshalled code; b"" if the file has been replaced, as by a new installation."""
        _, _, _, offset, length, _ = self._index[name]
        try:
            file = posix.open(self._path, posix.O_RDONLY | posix.O_CLOEXEC)
        except OSError:
            return b""
        try:
            status = posix.fstat(file)
            if status.st_ino != self._status.st_ino or status.st_mtime_ns != self._status.st_mtime_ns:
                return b""
            return posix.pread(file, length, self._begin + offset)
        finally:
            posix.close(file)

    def _spec(self, name: str, code: bytes) -> ModuleSpec:
        file = self._index[name][0]
        # Importing importlib.abc for the type would take 10 ms.
        spec = ModuleSpec(name, self, origin=file, loader_state=code)  # type: ignore[arg-type]
        if file.endswith("/__init__.py"):
            spec.submodule_search_locations = [file.rpartition("/")[0]]
        return spec


def install(index: dict[str, Entry], extensions: dict[str, str], path: str, begin: int, status: stat_result) -> bool:
    """Have modules imported from the file `path`, and those in C without a search; say whether this module is in there
    as its source is now: if not, what is installed is another version."""
    modules = PackedModules(index, extensions, path, begin, status)
    if not modules.is_as_its_source("minirun"):
        return False
    sys.meta_path.insert(0, modules)
    return True
