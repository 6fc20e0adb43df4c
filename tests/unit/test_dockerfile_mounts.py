"""RUN's mounts: options, defaults and refusals (Dockerfile reference, "RUN --mount")."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.build.dockerfile.error import DockerfileError
from minirun.build.dockerfile.mounts import (
    BindMount,
    CacheMount,
    Mount,
    SecretMount,
    SshMount,
    TmpfsMount,
    read_flag,
    read_mount,
)
from minirun.build.variables.words import expand


def read(text: str) -> Mount:
    return read_mount(read_flag(text), lambda word: expand(word, {"v": "val", "t": "cache"}))


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("target=/a", BindMount("/a")),
        ("type=bind,source=/s,target=/a,from=b", BindMount("/a", "/s", "b")),
        ("src=s,dst=a,rw", BindMount("a", "s", read_only=False)),
        ("destination=/a,readonly=false", BindMount("/a", read_only=False)),
        ("target=/a,rw,ro", BindMount("/a")),
        ("target=/a,readwrite=true", BindMount("/a", read_only=False)),
        ("Target=/$v,TYPE=Bind", BindMount("/val")),
        ('"target=/a,b"', BindMount("/a,b")),
        ("target=.", BindMount(".")),
        ("type=cache,target=/c", CacheMount("/c", "/c")),
        ("type=$t,target=/c//d/", CacheMount("/c//d/", "/c/d")),
        ("type=cache,target=/c,id=i-$v,sharing=Locked,from=b,source=s,ro,mode=0700,uid=1,gid=2",
         CacheMount("/c", "i-val", "s", "b", True, "locked", 0o700, 1, 2)),
        ("type=tmpfs,target=/t", TmpfsMount("/t")),
        ("type=tmpfs,target=/t,size=64m", TmpfsMount("/t", 64 << 20)),
        ("type=secret,id=a", SecretMount("a", "/run/secrets/a")),
        ("type=secret,source=a", SecretMount("a", "/run/secrets/a")),
        ("type=secret,target=/x/y", SecretMount("y", "/x/y")),
        ("type=secret,id=a,env=A", SecretMount("a", "", "A")),
        ("type=secret,id=a,env=A,target=/b,required,mode=444,uid=5,gid=6",
         SecretMount("a", "/b", "A", True, 0o444, 5, 6)),
        ("type=secret,id=a,required=0", SecretMount("a", "/run/secrets/a")),
        ("type=ssh", SshMount()),
        ("type=ssh,id=k,target=/s,required=true,mode=0666,uid=1,gid=2", SshMount("k", "/s", True, 0o666, 1, 2)),
    ],
)  # fmt: skip
def test_mounts(text: str, mount: Mount) -> None:
    assert read(text) == mount


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("type=foo,target=/a", 'unsupported mount type "foo"'),
        ("target=/a,foo=b", "unexpected key 'foo' in 'foo=b'"),
        ("target", "invalid field 'target' must be a key=value pair"),
        ("", "invalid field '' must be a key=value pair"),
        ("target=/a,ro=maybe", "invalid value for readonly: maybe"),
        ("target=/a,mode=755", 'mode not allowed for "bind" type mounts'),
        ("type=tmpfs,target=/a,uid=1", 'uid not allowed for "tmpfs" type mounts'),
        ("target=/a,required", 'required not allowed for "bind" type mounts'),
        ("target=/a,sharing=shared", 'sharing not allowed for "bind" type mounts'),
        ("type=cache,target=/a,sharing=mine", 'unsupported sharing value "mine"'),
        ("type=cache,target=/a,mode=9", "invalid value 9 for mode"),
        ("type=cache,target=/a,uid=-1", "invalid value -1 for uid"),
        ("type=cache,target=/a,gid=4294967296", "invalid value 4294967296 for gid"),
        ("type=tmpfs,target=/a,size=big", "invalid value for size: big"),
        ("type=secret", "invalid secret mount. one of source, target required"),
        ("type=secret,id=a,source=b", "both source and id can't be set"),
        ("type=secret,id=a,from=b", 'from not allowed for "secret" type mounts'),
        ("from=$v,target=/a", "'from' doesn't support variable expansion, define alias stage instead"),
        ("target=${v", 'failed to process "${v": syntax error: missing \'}\''),
        ('"target=a', None),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, reason: str | None) -> None:
    with pytest.raises(DockerfileError) as caught:
        read(text)
    assert caught.value.reason == (reason or caught.value.reason)
    assert reason or caught.value.reason.startswith("failed to parse csv mounts: ")


OPTIONS = st.sampled_from("type from source target ro rw required id sharing mode uid gid size env x".split())
VALUES = st.one_of(st.sampled_from("bind cache tmpfs secret ssh locked 0 1 755 true 64m /a $v".split()), st.text())


@given(st.lists(st.one_of(OPTIONS, st.builds("{}={}".format, OPTIONS, VALUES)), max_size=8).map(",".join))
def test_any_text_is_a_mount_or_an_error_of_ours(text: str) -> None:
    try:
        mount = read(text)
    except DockerfileError:
        return
    assert type(mount) in (BindMount, CacheMount, TmpfsMount, SecretMount, SshMount)
