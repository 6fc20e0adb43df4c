"""Where the executables begin that `pip install` makes: they import out of one file, too, which the first call writes.

What `executables.py` writes starts faster still: Python without `site`, and for the shortest verbs of minirun-oci no
Python at all. But that knows where it is installed, and pip does not say it.
"""

from __future__ import annotations

import marshal
import os
import sys

from minirun.launcher import packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def minirun() -> NoReturn:
    """Be the executable `minirun`."""
    _import_packed("minirun", "minirun.cli.entry")
    from minirun.cli.entry import main

    main()


def minirun_oci() -> NoReturn:
    """Be the executable `minirun-oci`."""
    _import_packed("minirun-oci", "minirun.cli.oci.main")
    from minirun.cli.oci.main import main

    main()


def _import_packed(name: str, entry: str) -> None:
    """Have everything imported from a file beside this one, as it is cached in __pycache__ otherwise."""
    path = f"{os.path.dirname(__file__)}/{name}.{sys.implementation.cache_tag}.modules"
    if not _install(path) and _write(path, entry):
        _install(path)


def _install(path: str) -> bool:
    """Import from the file from here on, if it is there and was made from what is installed now."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        length = int.from_bytes(os.read(file, packed.HEADER))
        _, index, extensions = marshal.loads(os.read(file, length - packed.HEADER))
        return packed.install(index, extensions, path, length, os.fstat(file))
    finally:
        os.close(file)


def _write(path: str, entry: str) -> bool:
    """Write the file; say whether this user may."""
    if not os.access(os.path.dirname(path), os.W_OK):
        return False
    from minirun.kernel.hostfiles import replace
    from minirun.launcher.executables import pack

    try:
        replace(path, pack(entry), 0o644)
    except OSError:
        return False  # everything is imported from its source
    return True
