"""Archives to standard output or to a file, which appears whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import sys

from minirun.errors import MinirunError
from minirun.kernel import hostfiles
from minirun.kernel.files import open_to_write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# File systems without O_TMPFILE, such as NFS.
_NO_NAMELESS = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT)


def check_output(path: str) -> None:
    """Refuse early what cannot be written to: a terminal, a directory, a directory that does not exist.

    `path` is "" for standard output. Raises MinirunError (1).
    """
    if not path:
        if sys.stdout.isatty():
            raise MinirunError("cowardly refusing to save to a terminal. Use the -o flag or redirect", exit_code=1)
        return
    directory = os.path.dirname(path) or "."
    if not os.path.isdir(directory):
        raise MinirunError(f'invalid output path: directory "{directory}" does not exist', exit_code=1)
    if os.path.isdir(path):
        raise MinirunError(f'invalid output path: "{path}" is a directory', "Name the file to write.", 1)


def write_output(path: str, pieces: Iterable[bytes]) -> None:
    """Write to a file, or with an empty path to standard output.

    A file that is there is replaced when the new one is complete; what is no file, such as a FIFO, is written into.
    Raises MinirunError (1) for what the disk refuses.
    """
    if not path:
        sys.stdout.flush()
        for piece in pieces:
            hostfiles.write_all(1, piece)
        return
    try:
        if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
            _fill(open_to_write(path), pieces)
        else:
            _write_file(os.path.realpath(path), pieces)
    except OSError as error:
        error.filename = os.path.realpath(path)  # write(2) knows no name
        raise MinirunError(f"cannot write {path}: {error.strerror}", exit_code=1) from error


def _write_file(path: str, pieces: Iterable[bytes]) -> None:
    """Write a file that has no name until it is complete: whatever kills this process, the disk is as before."""
    directory = os.path.dirname(path)
    try:
        file = hostfiles.open_nameless(directory)
    except OSError as error:
        if error.errno not in _NO_NAMELESS:
            raise
        _write_beside(path, pieces)
        return
    _fill(os.dup(file), pieces)
    try:
        hostfiles.give_name(file, path)
    except FileExistsError:
        beside = _free_name(path)
        hostfiles.give_name(file, beside)
        hostfiles.rename(beside, path)
    finally:
        os.close(file)


def _write_beside(path: str, pieces: Iterable[bytes]) -> None:
    beside = _free_name(path)
    try:
        _fill(hostfiles.open_to_append(beside, 0o600), pieces)
        hostfiles.rename(beside, path)
    except BaseException:
        hostfiles.remove(beside)
        raise


def _fill(file: int, pieces: Iterable[bytes]) -> None:
    try:
        for piece in pieces:
            hostfiles.write_all(file, piece)
    finally:
        os.close(file)


def _free_name(path: str) -> str:
    directory, name = os.path.split(path)
    return f"{directory}/.{name[:200]}.{os.urandom(4).hex()}"
