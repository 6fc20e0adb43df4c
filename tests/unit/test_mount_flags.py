"""`-v`, `--mount` and `--tmpfs`: what they become, and what is refused, in Docker's words where it has some."""

from __future__ import annotations

import csv
import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.engine.request.mount_fields import parse_mount
from minirun.engine.request.mount_flags import parse_tmpfs, parse_volume
from minirun.engine.request.mounts import warnings
from minirun.engine.volume.mounting import parse
from minirun.errors import MinirunError
from minirun.kernel.mount import MS_BIND, MS_NOEXEC, MS_RDONLY, PROPAGATION
from minirun.model.container import VolumeMount

WRONG = "invalid volume specification: "
CONFIG = "invalid mount config for type "
LONGEST = (
    "src=name,dst=/x,volume-driver=local,volume-label=a=b,volume-label=c,volume-opt=type=tmpfs,volume-opt=device=tmpfs,"
    '"volume-opt=o=size=1m,uid=3"'
)
MOUNT_KEYS = (
    "type target source readonly bind-propagation bind-recursive volume-subpath volume-label volume-opt image-subpath "
    "tmpfs-size tmpfs-mode"
).split()


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("/data", VolumeMount("volume", "/data")),
        ("name:/data", VolumeMount("volume", "/data", "name")),
        ("name:/data:ro,nocopy", VolumeMount("volume", "/data", "name", read_only=True, copy_up=False)),
        ("name:/data:U", VolumeMount("volume", "/data", "name", own=True)),
        ("/a/../b:/x/./y/", VolumeMount("bind", "/x/y", "/b", create_source=True)),
        ("./rel:/x:z", VolumeMount("bind", "/x", "/work/rel", create_source=True)),
        ("..:/x", VolumeMount("bind", "/x", "/", create_source=True)),
        ("/a:/x:ro,rslave", VolumeMount("bind", "/x", "/a", read_only=True, create_source=True, options=("rslave",))),
        ("/a:/x:rshared", VolumeMount("bind", "/x", "/a", create_source=True, options=("rshared",))),
    ],
)
def test_volumes(text: str, mount: VolumeMount) -> None:
    mode = text.split(":")[2] if text.count(":") == 2 else ""
    assert parse_volume(text, "/work") == mount.replace(flag="-v", mode=mode)


@pytest.mark.parametrize(
    "text",
    (
        " a:b a:/ / rel :/x a::/x a:/x:foo ab:/x:ro,rw ab:/x:rslave /a:/x:nocopy x/y:/z n:/x ab:/x:rshared /a:/x:U,U "
        "a:/b:c:d"
    ).split(" "),
)
def test_wrong_volumes(text: str) -> None:
    with pytest.raises(MinirunError) as caught:
        parse_volume(text, "/work")
    assert caught.value.exit_code == 125


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/a:/b:nope", "invalid mode: nope"),
        ("/a:/b:ro,rw", "invalid mode: ro,rw"),
        (":/b", "invalid spec: :/b: empty section between colons"),
        ("/a:/b:c:d", "invalid volume specification: '/a:/b:c:d'"),
        ("a/b:/b", 'create a/b: "a/b" includes invalid characters for a local volume name'),
        ("/a:/", f"{WRONG}'/a:/': {CONFIG}\"bind\": invalid specification: destination can't be '/'"),
        ("/a:b", f"{WRONG}'/a:b': {CONFIG}\"bind\": invalid mount path: 'b' mount path must be absolute"),
        ("xx:/b:rshared", f"{WRONG}'xx:/b:rshared': {CONFIG}\"volume\": field BindOptions must not be specified"),
        ("/a:/b:nocopy", f"{WRONG}'/a:/b:nocopy': {CONFIG}\"bind\": field VolumeOptions must not be specified"),
    ],
)
def test_dockers_words_for_wrong_volumes(text: str, message: str) -> None:
    with pytest.raises(MinirunError) as caught:
        parse_volume(text, "/work")
    assert caught.value.message.startswith(message)


@given(st.text())
def test_any_volume_is_a_mount_below_the_root_or_an_error(text: str) -> None:
    try:
        mount = parse_volume(text, "/work")
    except MinirunError:
        return
    assert mount.target.startswith("/")
    assert mount.target == os.path.normpath(mount.target) != "/"
    assert mount.kind == "volume" or mount.source.startswith("/")


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("dst=/x", VolumeMount("volume", "/x")),
        ("type=volume,src=name,target=/x,volume-nocopy,ro", VolumeMount("volume", "/x", "name", True, copy_up=False)),
        ("type=bind,source=/a,destination=/x,readonly=true", VolumeMount("bind", "/x", "/a", True)),
        ("type=bind,source=/a,target=/x,readonly=false", VolumeMount("bind", "/x", "/a")),
        ('type=bind,"source=/a,b",target=/x', VolumeMount("bind", "/x", "/a,b")),
        ("type=bind,src=/a,dst=/x,bind-recursive=disabled", VolumeMount("bind", "/x", "/a", options=("bind",))),
        ("type=bind,src=/a,dst=/x,bind-propagation=rslave", VolumeMount("bind", "/x", "/a", options=("rslave",))),
        ("type=bind,src=/a,dst=/x,bind-create-src", VolumeMount("bind", "/x", "/a", create_source=True)),
        (
            "type=bind,src=/a,dst=/x,ro,bind-recursive=writable",
            VolumeMount("bind", "/x", "/a", True, options=("rw-below",)),
        ),
        (
            "type=bind,src=/a,dst=/x,ro,bind-recursive=readonly,bind-propagation=rprivate",
            VolumeMount("bind", "/x", "/a", True, options=("rprivate",)),
        ),
        ("type=volume,src=name,dst=/x,volume-subpath=a//b/.", VolumeMount("volume", "/x", "name", subpath="a/b")),
        (
            LONGEST,
            VolumeMount(
                "volume",
                "/x",
                "name",
                labels={"a": "b", "c": ""},
                driver_options={"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=3"},
            ),
        ),
        (
            "type=image,src=busybox,dst=/x,image-subpath=bin",
            VolumeMount("image", "/x", "busybox", True, copy_up=False, subpath="bin"),
        ),
        (
            "type=tmpfs,dst=/x,tmpfs-size=1m,tmpfs-mode=700",
            VolumeMount("tmpfs", "/x", options=("mode=700", "size=1048576")),
        ),
    ],
)
def test_mounts(text: str, mount: VolumeMount) -> None:
    assert parse_mount(text) == mount.replace(flag="--mount")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "target is required"),
        ("type=bind,src=/a", "target is required"),
        ("type=bind,dst=/x", "field Source must not be empty"),
        ("type=bind,src=a,dst=/x", "'a' mount path must be absolute"),
        ("type=foo,dst=/x", 'invalid mount config for type "foo": mount type unknown'),
        ("foo=bar,dst=/x", "unexpected key 'foo' in 'foo=bar'"),
        ("type,dst=/x", "must be a key=value pair"),
        ("type=bind,,src=/a,dst=/x", "a field is empty"),
        ("type=tmpfs,src=/a,dst=/x", "field Source must not be specified"),
        ("type=tmpfs,dst=/x,tmpfs-size=foo", "invalid value for tmpfs-size: foo"),
        ("type=bind,src=/a,dst=/x,volume-nocopy", "cannot mix 'volume-*' options with mount type 'bind'"),
        ("type=bind,src=/a,dst=/x,ro=maybe", "invalid value for readonly: maybe"),
        ("type=bind,src=/a,dst=/x,bind-propagation=foo", "invalid propagation mode: foo"),
        ("type=bind,src=/a,dst=/x,bind-recursive=foo", "invalid value for bind-recursive: foo"),
        ("type=bind,src=/a,dst=/x,bind-recursive=readonly", "requires 'readonly' to be specified"),
        ("type=bind,src=/a,dst=/x,ro,bind-recursive=readonly", "requires 'bind-propagation=rprivate'"),
        ("type=volume,src=a/b,dst=/x", "includes invalid characters for a local volume name"),
        ("type=volume,src=a,dst=/x", "volume name is too short"),
        ("type=volume,src=name,dst=/x,volume-driver=foo", 'plugin "foo" not found'),
        ("type=volume,dst=/x,volume-opt=foo=bar", 'invalid option: "foo"'),
        ("type=volume,src=name,dst=/x,volume-subpath=../x", "invalid subpath '../x'"),
        ("type=volume,src=name,dst=/x,volume-subpath=/x", "invalid subpath '/x'"),
        ("type=image,dst=/x", "field Source must not be empty"),
        ("dst=x", "must be absolute"),
        ("dst=/", "can't be '/'"),
    ],
)
def test_wrong_mounts(text: str, message: str) -> None:
    with pytest.raises(MinirunError) as caught:
        parse_mount(text)
    assert message in caught.value.message


@given(st.text())
def test_any_mount_text_is_a_mount_or_an_error(text: str) -> None:
    try:
        mount = parse_mount(text)
    except MinirunError:
        return
    assert mount.target == os.path.normpath(mount.target) != "/"
    assert not mount.subpath.startswith(("/", ".."))


@given(st.dictionaries(st.sampled_from(MOUNT_KEYS), st.text('abc/.=,:1"', max_size=8)))
def test_any_mount_fields_are_a_mount_or_an_error(fields: dict[str, str]) -> None:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow([f"{key}={value}" for key, value in fields.items()])
    try:
        mount = parse_mount(buffer.getvalue())
    except MinirunError:
        return
    assert mount.kind == fields.get("type", "volume").lower()
    assert mount.subpath == os.path.normpath(mount.subpath) if mount.subpath else True
    assert not f"{mount.subpath}/".startswith(("../", "//")), "it stays in what it is a part of"


def test_tmpfs() -> None:
    assert parse_tmpfs("/x") == VolumeMount("tmpfs", "/x", flag="--tmpfs")
    assert parse_tmpfs("/x:size=64m,exec") == VolumeMount("tmpfs", "/x", options=("size=64m", "exec"), flag="--tmpfs")
    for text in ("x", "/x:foo", "/x:size", "/x:size=", "/"):
        with pytest.raises(MinirunError):
            parse_tmpfs(text)


def test_relabelling_is_told_to_have_no_effect() -> None:
    mounts = (parse_volume("/a:/x:z", "/"), parse_volume("ab:/y:ro,Z", "/"), parse_volume("/a:/z:ro", "/"))
    expected = [] if os.path.exists("/sys/fs/selinux/enforce") else ["z and Z are ignored for /x, /y"]
    assert [sentence.partition(":")[0] for sentence in warnings(mounts)] == expected


# -- options of the local driver -------------------------------------------------------------------------------------


def test_words_of_the_driver_are_sorted_as_mount_sorts_them() -> None:
    asked = parse({"type": "none", "device": "/srv", "o": "bind,ro,noexec,exec,rslave,,size=1m,uid=3"})
    assert (asked.fstype, asked.device) == ("none", "/srv")
    assert asked.flags == MS_BIND | MS_RDONLY
    assert asked.propagation == (PROPAGATION["rslave"],)
    assert asked.data == "size=1m,uid=3"
    assert not asked.flags & MS_NOEXEC


@given(st.lists(st.sampled_from(["ro", "rw", "bind", "noexec", "exec", "size=1m", "uid=3", "x", ""])))
def test_no_word_of_the_driver_is_lost(words: list[str]) -> None:
    asked = parse({"type": "tmpfs", "device": "tmpfs", "o": ",".join(words)})
    own = [word for word in words if word in ("size=1m", "uid=3", "x")]
    assert asked.data == ",".join(own)
    last = [word for word in words if word in ("ro", "rw")]
    assert bool(asked.flags & MS_RDONLY) == (last[-1:] == ["ro"])
