"""What is a volume's name, and what its driver takes: Docker's rules, in Docker's words."""

from __future__ import annotations

from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DRIVER = "local"
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_OPTIONS = ("type", "device", "o", "size")


def check_name(name: str) -> None:
    """Refuse what is no name of a volume. Raises MinirunError."""
    if len(name) == 1 and name in _LETTERS:
        raise MinirunError(
            f"create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )
    if not name or name[0] not in _LETTERS or len(name) < 2 or not _LETTERS.union("_.-").issuperset(name):
        raise MinirunError(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )


def check_driver(name: str, driver: str) -> None:
    """Refuse every driver but the local one. Raises MinirunError."""
    if driver not in ("", DRIVER):
        raise MinirunError(
            f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" not found',
            "minirun has the driver 'local' alone.",
        )


def check_options(name: str, options: Mapping[str, str]) -> None:
    """Refuse options that the local driver has not got, or that lack others. Raises MinirunError."""
    for key in options:
        if key not in _OPTIONS:
            raise MinirunError(f'create {name}: invalid option: "{key}"', "There are type, device and o.")
    if "size" in options:
        raise MinirunError(
            f"create {name}: quota size requested but no quota support",
            "A limit needs a file system of its own: --opt type=tmpfs --opt device=tmpfs --opt o=size=64m.",
        )
    for key in ("type", "device"):
        if options and not options.get(key):
            raise MinirunError(f'create {name}: missing required option: "{key}"', "See mount(8) for their meaning.")
