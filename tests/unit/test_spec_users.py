"""`--user` and `--group-add` against the image's passwd and group files."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.engine.spec.users import MAX_ID, User, resolve
from minirun.errors import MinirunError

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
# comment:x:9:9::/:/bin/sh
broken line
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
app:x:1000:1001:App:/home/app:/bin/sh
nohome:x:7:7:::/bin/sh
huge:x:99999999999999999999:1::/:/bin/sh
4242:x:5:5::/numeric:/bin/sh
"""
GROUP = """\
root:x:0:
daemon:x:1:app, other
app:x:1001:
video:x:44:app
:x:45:app
bad:x:-1:app
"""


@pytest.mark.parametrize(
    ("user", "group_add", "expected"),
    [
        ("", (), User(0, 0, (), "/root")),
        ("root", (), User(0, 0, (), "/root")),
        ("app", (), User(1000, 1001, (1, 44), "/home/app")),
        ("1000", (), User(1000, 1001, (1, 44), "/home/app")),
        ("app:daemon", (), User(1000, 1, (), "/home/app")),
        ("app:77", (), User(1000, 77, (), "/home/app")),
        ("1234", (), User(1234, 0, (), "/")),
        ("1234:5678", (), User(1234, 5678, (), "/")),
        ("1234:video", (), User(1234, 44, (), "/")),
        (":video", (), User(0, 44, (), "/root")),
        ("nohome", (), User(7, 7, (), "/")),
        ("4242", (), User(5, 5, (), "/numeric")),
        ("app", ("video", "99"), User(1000, 1001, (1, 44, 99), "/home/app")),
        (str(MAX_ID), (), User(MAX_ID, 0, (), "/")),
    ],
)
def test_who_a_user_is(user: str, group_add: tuple[str, ...], expected: User) -> None:
    assert resolve(user, group_add, PASSWD, GROUP) == expected


@pytest.mark.parametrize(
    ("user", "group_add", "message"),
    [
        ("nobody", (), "unable to find user nobody: no matching entries in passwd file"),
        ("comment", (), "unable to find user"),
        ("huge", (), "unable to find user"),
        ("app:nothing", (), "unable to find group nothing: no matching entries in group file"),
        ("app", ("nothing",), "unable to find group nothing"),
        ("bad", ("bad",), "unable to find"),
        (str(MAX_ID + 1), (), "uids and gids must be in range 0-2147483647"),
        ("0", (str(2**40),), "uids and gids must be in range"),
        ("²", (), "unable to find user"),
    ],
)
def test_who_does_not_exist(user: str, group_add: tuple[str, ...], message: str) -> None:
    with pytest.raises(MinirunError) as caught:
        resolve(user, group_add, PASSWD, GROUP)
    assert message in caught.value.message
    assert caught.value.exit_code == 125


def test_an_image_without_the_files() -> None:
    assert resolve("", (), "", "") == User(0, 0, (), "/")
    with pytest.raises(MinirunError):
        resolve("root", (), "", "")


@given(st.text(), st.text(), st.text())
def test_hostile_files_give_a_user_in_range_or_an_error(user: str, passwd: str, group: str) -> None:
    try:
        found = resolve(user, (), passwd, group)
    except MinirunError:
        return
    assert all(0 <= number <= MAX_ID for number in (found.uid, found.gid, *found.groups))


@given(st.from_regex(r"[a-z][a-z0-9_-]*", fullmatch=True), st.integers(0, MAX_ID), st.integers(0, MAX_ID))
def test_a_user_is_found_by_name_and_by_number(name: str, uid: int, gid: int) -> None:
    passwd = f"{name}:x:{uid}:{gid}::/home/{name}:/bin/sh\n"
    expected = User(uid, gid, (), f"/home/{name}")
    assert resolve(name, (), passwd, "") == resolve(str(uid), (), passwd, "") == expected


def test_files_of_colons_cost_no_memory() -> None:
    text = "::::::\n" * (4 << 20 >> 3)
    tracemalloc.start()
    resolve("", (), text, text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_more_groups_than_a_process_can_have_are_refused() -> None:
    group = "".join(f"g{gid}:x:{gid}:me\n" for gid in range(65537))
    with pytest.raises(MinirunError, match="65537 groups"):
        resolve("me", (), "me:x:1:1::/:", group)
