"""RUN's mounts: what a command has besides its stage's files.

Source: Dockerfile reference, "RUN --mount". Most values may have variables, so a mount is read twice: where it takes
files from when the Dockerfile is parsed, and all of it when variables are known. A target is a path from WORKDIR.
"""

from __future__ import annotations

from minirun.build.dockerfile.error import DockerfileError
from minirun.build.dockerfile.instructions import MountFlag
from minirun.build.dockerfile.spelling import did_you_mean
from minirun.errors import MinirunError
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class BindMount(Record):
    """Files of the build context, or of the stage, context or image `from_`; writes are thrown away afterwards."""

    target: str
    source: str = "/"
    from_: str = ""
    read_only: bool = True


class CacheMount(Record):
    """A directory that stays between builds, by `id`. New, it is as `source` in `from_`, or empty.

    `sharing` is shared, private or locked: what a second build at the same time gets. `mode`, `uid` and `gid` are of a
    new directory.
    """

    target: str
    id: str
    source: str = "/"
    from_: str = ""
    read_only: bool = False
    sharing: str = "shared"
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


class TmpfsMount(Record):
    """An empty file system in memory, of at most `size` bytes; 0 is no limit."""

    target: str
    size: int = 0


class SecretMount(Record):
    """A secret of the build's caller, as a file `target`, as the environment variable `env`, or both.

    A secret that is `required` and was not given fails the build; otherwise there is no file.
    """

    id: str
    target: str = ""
    env: str = ""
    required: bool = False
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


class SshMount(Record):
    """A socket of the caller's SSH agent. `target` is empty where minirun may choose a place."""

    id: str = "default"
    target: str = ""
    required: bool = False
    mode: int = 0o600
    uid: int = 0
    gid: int = 0


Mount = BindMount | CacheMount | TmpfsMount | SecretMount | SshMount

_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly", "rw": "readwrite"}
_SWITCHES = ("readonly", "readwrite", "required")
_SHARING = ("shared", "private", "locked")
# Which options each type takes; `from` is refused first, and in other words, where it makes no sense.
_OWNERSHIP = ("mode", "uid", "gid")
_OPTIONS = {
    "bind": ("source", "target", "from", "readonly", "readwrite"),
    "cache": ("id", "source", "target", "from", "readonly", "readwrite", "sharing", *_OWNERSHIP),
    "tmpfs": ("target", "size"),
    "secret": ("id", "source", "target", "env", "required", *_OWNERSHIP),
    "ssh": ("id", "target", "required", *_OWNERSHIP),
}
_ALL_OPTIONS = ("type", *dict.fromkeys(option for options in _OPTIONS.values() for option in options))


def read_flag(text: str) -> MountFlag:
    """Read what is known of a `--mount` when the file is parsed: where it takes files from. Raises DockerfileError."""
    from_ = ""
    for field in _fields(text):
        name, _, value = field.partition("=")
        if name.lower() == "from":
            if "$" in value.rstrip("$"):
                raise DockerfileError(
                    "'from' doesn't support variable expansion, define alias stage instead",
                    "FROM may have a variable of an ARG before the first FROM.",
                )
            from_ = value
    return MountFlag(text, from_)


def read_mount(flag: MountFlag, expand: Callable[[str], str]) -> Mount:
    """Return the typed mount of a flag, whose values `expand` replaces the variables of. Raises DockerfileError."""
    given = _options(flag.text, expand)
    kind = given.pop("type", "bind").lower()
    if kind not in _OPTIONS:
        raise DockerfileError(f'unsupported mount type "{kind}"', did_you_mean(kind, _OPTIONS))
    for name in given:
        if name not in _OPTIONS[kind]:
            raise DockerfileError(f'{name} not allowed for "{kind}" type mounts')
    if kind == "secret":
        return _secret(given)
    if kind == "ssh":
        return SshMount(
            id=given.get("id") or "default",
            target=given.get("target", ""),
            required=_truth(given, "required"),
            **_ownership(given),
        )
    target = given.get("target", "")
    if kind == "tmpfs":
        return TmpfsMount(target, _size(given.get("size", "")))
    source, from_ = given.get("source") or "/", given.get("from", "")
    if kind == "bind":
        return BindMount(target, source, from_, _is_read_only(given, by_default=True))
    sharing = given.get("sharing", "shared").lower()
    if sharing not in _SHARING:
        raise DockerfileError(f'unsupported sharing value "{sharing}"', f"There is {', '.join(_SHARING)}.")
    return CacheMount(
        target=target,
        id=given.get("id") or _clean(target),
        source=source,
        from_=from_,
        read_only=_is_read_only(given, by_default=False),
        sharing=sharing,
        **_ownership(given),
    )


def _fields(text: str) -> list[str]:
    """Split at commas; a field that holds one is quoted, as in CSV."""
    if '"' not in text:
        return text.split(",")
    import csv

    try:
        (fields,) = csv.reader([text], strict=True)
    except (csv.Error, ValueError) as error:
        raise DockerfileError(f"failed to parse csv mounts: {error}") from None
    return fields


def _options(text: str, expand: Callable[[str], str]) -> dict[str, str]:
    """Return the options by their one name, values expanded; a switch without a value is "true"."""
    given = {}
    for field in _fields(text):
        written, equals, value = field.partition("=")
        name = _ALIASES.get(written.lower(), written.lower())
        if not equals and name not in _SWITCHES:
            raise DockerfileError(f"invalid field '{field}' must be a key=value pair")
        if name not in _ALL_OPTIONS:
            raise DockerfileError(f"unexpected key '{name}' in '{field}'", did_you_mean(name, _ALL_OPTIONS))
        given[name] = expand(value) if equals else "true"
    return given


def _secret(given: dict[str, str]) -> SecretMount:
    source, name, target, env = (given.get(option, "") for option in ("source", "id", "target", "env"))
    if source and name:
        raise DockerfileError("both source and id can't be set")
    name = name or source or target.rstrip("/").rpartition("/")[2]
    if not name:
        raise DockerfileError("invalid secret mount. one of source, target required", "Write id=NAME.")
    if not target and not env:
        target = f"/run/secrets/{name.rpartition('/')[2]}"
    owner = _ownership(given)
    return SecretMount(name, target, env, _truth(given, "required"), **owner)


def _is_read_only(given: dict[str, str], by_default: bool) -> bool:
    """Return what `readonly` or `readwrite` say, the later of them if both."""
    chosen = by_default
    for name in given:
        if name == "readonly":
            chosen = _truth(given, name)
        elif name == "readwrite":
            chosen = not _truth(given, name)
    return chosen


def _clean(path: str) -> str:
    """Return a path without needless parts, as the id of a cache that has none."""
    import posixpath

    return posixpath.normpath(f"/{path.lstrip('/')}") if path.startswith("/") else posixpath.normpath(path)


def _truth(given: dict[str, str], name: str) -> bool:
    """Read Go's strconv.ParseBool."""
    value = given.get(name, "false")
    if value in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if value in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise DockerfileError(f"invalid value for {name}: {value}")


def _ownership(given: dict[str, str]) -> dict[str, int]:
    """Return those of mode, uid and gid that are given."""
    return {name: _number(name, given[name]) for name in _OWNERSHIP if name in given}


def _number(name: str, text: str) -> int:
    digits = "01234567" if name == "mode" else "0123456789"
    if not text or text.strip(digits) or len(text) > 11:
        raise DockerfileError(f"invalid value {text} for {name}")
    number = int(text, len(digits))
    if number >= 1 << 32:
        raise DockerfileError(f"invalid value {text} for {name}")
    return number


def _size(text: str) -> int:
    if not text:
        return 0
    from minirun.engine.sizes import parse_size  # which brings re

    try:
        return parse_size(text)
    except MinirunError:
        raise DockerfileError(f"invalid value for size: {text}", "For example size=64m.") from None
