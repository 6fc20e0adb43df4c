"""Who the container's process is: `--user` and `--group-add` looked up in the image's own passwd and group files."""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_ID = 2**31 - 1
"""Docker's bound, one bit below the kernel's uid_t."""
GROUPS_MAX = 65536
"""NGROUPS_MAX of the kernel (credentials(7))."""


class User(Record):
    """Numeric identity of a process; `groups` are the supplementary ones, `home` goes into HOME."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"


class _Account(Record):
    name: str
    uid: int
    gid: int
    home: str


class _Group(Record):
    name: str
    gid: int
    members: tuple[str, ...]


def resolve(user: str, group_add: tuple[str, ...], passwd: str, group: str) -> User:
    """Return who `user` ("", "name", "uid", "name:group", "uid:gid") is, by the texts of /etc/passwd and /etc/group.

    Docker's rules: a name must exist; a number need not, it then has group 0 and home "/"; without a group the user
    is also in every group that lists it as a member, with one it is not. `group_add` takes existing names and any
    numbers. Raises MinirunError. The files come from the image, so lines that make no sense are skipped (passwd(5),
    group(5)).
    """
    user_part, _, group_part = user.partition(":")
    account = _find_account(user_part or "0", _accounts(passwd))
    if group_part:
        gid = _find_group(group_part, _groups(group))
        supplementary = []
    else:
        gid = account.gid
        supplementary = [entry.gid for entry in _groups(group) if account.name and account.name in entry.members]
    supplementary += [_find_group(name, _groups(group)) for name in group_add]
    supplementary = list(dict.fromkeys(supplementary))
    if len(supplementary) > GROUPS_MAX:
        raise MinirunError(
            f"user {user_part or 'root'} is in {len(supplementary)} groups, and a process takes {GROUPS_MAX}"
        )
    return User(account.uid, gid, tuple(supplementary), account.home or "/")


def _find_account(wanted: str, accounts: Iterable[_Account]) -> _Account:
    number = _number(wanted)
    for account in accounts:
        # The first line that fits by name or by number wins, as in runc.
        if account.name == wanted or account.uid == number:
            return account
    if number is None:
        raise MinirunError(
            f"unable to find user {wanted}: no matching entries in passwd file",
            "Use a user of the image's /etc/passwd, or a number.",
        )
    if number > MAX_ID:
        raise MinirunError(f"unable to find user {wanted}: uids and gids must be in range 0-{MAX_ID}")
    return _Account("", number, 0, "/")


def _find_group(wanted: str, groups: Iterable[_Group]) -> int:
    number = _number(wanted)
    for entry in groups:
        if wanted == entry.name:
            return entry.gid
    if number is None:
        raise MinirunError(
            f"unable to find group {wanted}: no matching entries in group file",
            "Use a group of the image's /etc/group, or a number.",
        )
    if number > MAX_ID:
        raise MinirunError(f"unable to find group {wanted}: uids and gids must be in range 0-{MAX_ID}")
    return number


def _accounts(text: str) -> Iterator[_Account]:
    for fields in _lines(text, 6):
        uid, gid = _number(fields[2]), _number(fields[3])
        if uid is not None and gid is not None and max(uid, gid) <= MAX_ID:
            yield _Account(fields[0], uid, gid, fields[5])


def _groups(text: str) -> Iterator[_Group]:
    for fields in _lines(text, 3):
        gid = _number(fields[2])
        if gid is not None and gid <= MAX_ID:
            members = fields[3].split(",") if len(fields) > 3 else ()
            yield _Group(fields[0], gid, tuple(member.strip() for member in members if member.strip()))


def _lines(text: str, at_least: int) -> Iterator[list[str]]:
    """Split the lines with enough fields, one by one: the file is the image's, and all of them might be colons."""
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        line = text[start:end].strip()
        start = end + 1
        if not line.startswith("#"):
            fields = line.split(":", 7)
            if len(fields) >= at_least and fields[0]:
                yield fields


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
