"""minirun's own files on the host: directories that are root's alone, and records that are whole or not at all."""

from __future__ import annotations

import os
import stat

from minirun.errors import DamagedError
from minirun.model import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from minirun.model.record import Record

    AnyRecord = TypeVar("AnyRecord", bound=Record)

# An image's config may hold megabytes of labels and history.
_LARGEST = 64 << 20


def make_private(path: str) -> None:
    """Make a directory, and those above it that are missing, for this user alone; one that is there stays as it is.

    Raises OSError.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        above = os.path.dirname(path)
        if above == path or not above:
            raise
        make_private(above)
        make_private(path)


def replace(path: str, data: str | bytes) -> None:
    """Write a file that others read at any time: they find the old one or the new one, never a part. Raises OSError."""
    temporary = f"{path}.new"
    try:
        with open(temporary, "wb", buffering=0) as file:
            file.write(data.encode() if isinstance(data, str) else data)
        os.rename(temporary, path)
    except OSError as error:
        try:
            os.unlink(temporary)
        except OSError:
            pass  # it was not even made
        raise OSError(error.errno, error.strerror, path) from error


def read_record(path: str, kind: type[AnyRecord]) -> AnyRecord:
    """Read a file that holds a record as JSON. Raises FileNotFoundError, and DamagedError for anything else."""
    fields = read_json(path)
    try:
        return kind.read_back(fields)
    except ValueError as error:
        raise DamagedError(path, str(error)) from None


def read_json(path: str) -> Any:
    """Read a file of JSON, whose values are still unchecked. Raises FileNotFoundError, and DamagedError."""
    data = read_small(path)
    if not data:
        raise DamagedError(path, "it is empty")
    try:
        return jsontext.loads(data)
    except (ValueError, RecursionError) as error:
        reason = "it is not JSON" if not isinstance(error, RecursionError) else "it is nested too deep"
        raise DamagedError(path, reason) from error


def read_small(path: str) -> bytes:
    """Read a regular file whole. Raises FileNotFoundError, and DamagedError where something else is in its place.

    It never waits: a FIFO or a device is opened without blocking, and not read.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(error.errno, error.strerror, path) from None
    except OSError as error:
        raise DamagedError(path, f"it cannot be opened ({error.strerror})") from error
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise DamagedError(path, "it is not a file")
        if status.st_size > _LARGEST:
            raise DamagedError(path, f"it has {status.st_size} bytes")
        parts = []
        while part := os.read(file, 1 << 20):
            parts.append(part)
        return b"".join(parts)
    except OSError as error:
        raise DamagedError(path, f"it cannot be read ({error.strerror})") from error
    finally:
        os.close(file)
