"""How an archive is refused that is not what it must be."""

from __future__ import annotations

from minirun.errors import MinirunError, printable


class MalformedError(MinirunError):
    """The archive is not what it must be; the sentence says how."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, exit_code=1)


class CutOffError(MalformedError):
    """The archive ends in the middle of something."""

    def __init__(self, where: str) -> None:
        super().__init__(f"the archive is cut off: it ends in {where}")


class NotTarError(MalformedError):
    """What should be an archive does not begin like a tar."""

    def __init__(self) -> None:
        super().__init__("this is not a tar archive")


def shown(name: bytes) -> str:
    """A name as an error may print it: no control characters, not too long."""
    text = printable(name[:1000].decode(errors="backslashreplace"))
    return repr(text if len(text) <= 200 else text[:200] + "...")
