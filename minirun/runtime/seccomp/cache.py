"""From the bundle's `linux.seccomp` to the program that the kernel runs before each system call.

Compiling takes tens of milliseconds, more than all the rest of making a container, and nearly every container has the
same filter. So programs are kept in the cache and the compiler is not even imported when one is found there.

The form of the profile is runtime-spec's config-linux.md, "Seccomp"; where the specification leaves something open,
runc's behaviour counts.
"""

from __future__ import annotations

import marshal
import os
import struct
import zlib

from minirun.errors import MinirunError
from minirun.kernel.hostfiles import give_name, make_private, open_nameless, remove, write_all
from minirun.kernel.trace import step
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minirun.kernel.seccomp import Comparison, Rule

EPERM = 1
_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter
_RETURN, _USER_NOTIF = 0x06, 0x7FC00000  # BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF
_U16, _U64 = 0xFFFF, 0xFFFFFFFFFFFFFFFF


class Filter(Record):
    """What seccomp(SECCOMP_SET_MODE_FILTER) is given.

    `program` is an array of `struct sock_filter`, 8 bytes each; `flags` are SECCOMP_FILTER_FLAG_* bits. With
    SECCOMP_FILTER_FLAG_NEW_LISTENER the kernel returns a descriptor, which the runtime sends to the socket
    `listener_path` together with `listener_metadata` (config-linux.md, "The Container Process State").
    """

    program: bytes
    flags: int
    listener_path: str = ""
    listener_metadata: str = ""

    @property
    def asks(self) -> bool:
        """Whether some system call is answered by the listener (SECCOMP_RET_USER_NOTIF)."""
        return (_RETURN, _USER_NOTIF) in ((code, value) for code, _, _, value in _INSTRUCTION.iter_unpack(self.program))


def filter_for(cache_dir: str, profile: dict[str, Any]) -> Filter:
    """Return the filter for an OCI `linux.seccomp` object, from the cache in `cache_dir` if it was made before.

    With `cache_dir` "" nothing is kept. Raises MinirunError that names the field of a profile that is not valid.
    """
    if not cache_dir:
        return compile_filter(profile)
    directory = f"{cache_dir}/seccomp"
    key = marshal.dumps(profile, 0)  # version 0 writes equal values alike, and is three times as fast as json
    found = _cached(directory, key)
    if found is not None:
        return found.replace(**_listener(profile))
    made = compile_filter(profile)
    try:
        _keep(directory, key, made)
    except OSError:
        pass  # the next container will only take longer
    return made


def compile_filter(profile: dict[str, Any]) -> Filter:
    """Compile an OCI `linux.seccomp` object. Raises MinirunError that names the field it dislikes."""
    from minirun.kernel import seccomp

    field = "config.json: linux.seccomp"
    default, architectures, flags = read_settings(as_object(profile, field), field)
    rules = [
        rule
        for index, entry in enumerate(as_list(profile, "syscalls", field))
        for rule in read_rules(entry, f"{field}.syscalls[{index}]")
    ]

    # A filter that asks a listener about each call would have to ask about the very write that hands over the
    # listener's descriptor, and wait for ever.
    notify = seccomp.ACTIONS["SCMP_ACT_NOTIFY"]
    if default == notify:
        raise invalid(f"{field}.defaultAction", "SCMP_ACT_NOTIFY cannot be used as default action")
    if any(rule.action == notify for rule in rules):
        if any(rule.action == notify and rule.syscall == "write" for rule in rules):
            raise invalid(f"{field}.syscalls", "SCMP_ACT_NOTIFY cannot be used for the write syscall")
        if not profile.get("listenerPath"):
            raise invalid(f"{field}.listenerPath", "is missing, but there are rules with SCMP_ACT_NOTIFY")
    if profile.get("listenerPath"):  # also without such a rule: who listens there may wait to hear of the container
        # One thread loads it, so there is none to synchronize; and the kernel refuses TSYNC together with a listener.
        flags = flags & ~seccomp.TSYNC | seccomp.NEW_LISTENER
    else:
        flags &= ~seccomp.WAIT_KILLABLE_RECV  # how a listener is waited for, which there is not

    with step(
        "compile the system call filter",
        topic="seccomp",
        why="The kernel runs a small program before each system call of the container; it is made from the profile.",
    ):
        program = seccomp.compile_rules(default, architectures, tuple(rules))
    return Filter(program, flags, **_listener(profile))


# ---- reading the profile --------------------------------------------------------------------------------------------


def read_settings(profile: dict[str, Any], field: str) -> tuple[int, tuple[int, ...], int]:
    """Return a profile's default action, architecture tokens and flags. Raises MinirunError that names the field."""
    default = _action(profile, "defaultAction", "defaultErrnoRet", field)
    architectures = tuple(
        _architecture(name, f"{field}.architectures[{index}]")
        for index, name in enumerate(as_texts(profile, "architectures", field))
    )
    return default, architectures, _flags(profile, field)


def read_rules(value: object, field: str) -> list[Rule]:
    """Read one element of `syscalls`, which stands for a rule per name. Raises MinirunError that names the field."""
    from minirun.kernel.seccomp import Rule

    entry = as_object(value, field)
    action = _action(entry, "action", "errnoRet", field)
    names = as_texts(entry, "names", field)
    if not names:
        raise invalid(f"{field}.names", "names no system call")
    comparisons = tuple(
        _comparison(as_object(argument, f"{field}.args[{index}]"), f"{field}.args[{index}]")
        for index, argument in enumerate(as_list(entry, "args", field))
    )
    alternatives = [comparisons]
    if len({comparison.index for comparison in comparisons}) < len(comparisons):
        # The conditions of a rule all have to hold. Two on the same argument are taken as alternatives instead:
        # libseccomp has no other form for them, and profiles rely on this meaning, which runc gave them.
        alternatives = [(comparison,) for comparison in comparisons]
    return [Rule(name, action, conditions) for name in names for conditions in alternatives]


def _action(entry: dict[str, Any], key: str, errno_key: str, field: str) -> int:
    """Read an action and the number that goes with it: an errno, or a message to the tracer."""
    from minirun.kernel.seccomp import ACTIONS

    name = _text(entry, key, field)
    if name not in ACTIONS:
        raise invalid(f"{field}.{key}", f"'{name}' is no action")
    if name in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        return ACTIONS[name] | _integer(entry, errno_key, field, EPERM, _U16)
    if entry.get(errno_key) is not None:
        raise invalid(f"{field}.{errno_key}", f"{name} takes no number")
    return ACTIONS[name]


def _comparison(argument: dict[str, Any], field: str) -> Comparison:
    from minirun.kernel.seccomp import OPERATORS, Comparison

    operator = _text(argument, "op", field)
    if operator not in OPERATORS:
        raise invalid(f"{field}.op", f"'{operator}' is no comparison")
    return Comparison(
        _integer(argument, "index", field, None, 5),
        operator,
        _integer(argument, "value", field, None, _U64),
        _integer(argument, "valueTwo", field, 0, _U64),
    )


def _architecture(name: str, field: str) -> int:
    """Return the token for "SCMP_ARCH_X86_64"."""
    from minirun.kernel.seccomp import architecture_token, library_version

    token = architecture_token(name.removeprefix("SCMP_ARCH_").lower()) if name.startswith("SCMP_ARCH_") else 0
    if not token:
        raise invalid(field, f"libseccomp {library_version()} does not know the architecture '{name}'")
    return token


def _flags(profile: dict[str, Any], field: str) -> int:
    """Read the flags to load with.

    Where the field is missing SPEC_ALLOW is meant, as in runc: without it kernels before 5.16 slow every process with
    a filter down against speculative store bypass, which prctl(2) can ask for by itself.
    """
    from minirun.kernel.seccomp import FLAGS

    flags = 0
    names = ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"] if profile.get("flags") is None else as_texts(profile, "flags", field)
    for index, name in enumerate(names):
        if name not in FLAGS:
            raise invalid(f"{field}.flags[{index}]", f"'{name}' is no flag")
        flags |= FLAGS[name]
    return flags


def _listener(profile: dict[str, Any]) -> dict[str, str]:
    field = "config.json: linux.seccomp"
    path, metadata = _text(profile, "listenerPath", field, ""), _text(profile, "listenerMetadata", field, "")
    if metadata and not path:
        raise invalid(f"{field}.listenerMetadata", "is set, but there is no listenerPath to send it to")
    return {"listener_path": path, "listener_metadata": metadata}


def as_object(value: object, field: str) -> dict[str, Any]:
    """Return `value` if it is a JSON object. Raises MinirunError that names the field."""
    if not isinstance(value, dict):
        raise invalid(field, "is not an object")
    return value


def as_list(entry: dict[str, Any], key: str, field: str) -> list[Any]:
    """Return the field if it is a JSON list, or an empty one if it is absent. Raises MinirunError that names it."""
    value = entry.get(key) or []
    if not isinstance(value, list):
        raise invalid(f"{field}.{key}", "is not a list")
    return value


def as_texts(entry: dict[str, Any], key: str, field: str) -> list[str]:
    """Return the field if it is a JSON list of non-empty strings. Raises MinirunError that names it."""
    value = as_list(entry, key, field)
    if not all(isinstance(text, str) and text and "\0" not in text for text in value):
        raise invalid(f"{field}.{key}", "is not a list of names")
    return value


def _text(entry: dict[str, Any], key: str, field: str, default: str | None = None) -> str:
    value = entry.get(key, default)
    if not isinstance(value, str):
        raise invalid(f"{field}.{key}", "is missing" if value is None else "is not a string")
    return value


def _integer(entry: dict[str, Any], key: str, field: str, default: int | None, highest: int) -> int:
    value = entry.get(key)
    if value is None:
        value = default
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= highest:
        raise invalid(f"{field}.{key}", "is missing" if value is None else f"is not a number from 0 to {highest}")
    return value


def invalid(field: str, problem: str) -> MinirunError:
    """Make the error about one field; `field` begins with the name of the file."""
    return MinirunError(f"{field}: {problem}", "What a filter may say is in runtime-spec's config-linux.md, 'Seccomp'.")


# ---- keeping programs -----------------------------------------------------------------------------------------------
#
# The cache is a directory with one file per profile. A file holds the whole profile that it was made from, so it can
# never serve another one, and the state of the files that made it: libseccomp and minirun's own modules. Only when all
# of these are unchanged is it used. A user who can write to the directory decides what containers may do, so it
# must belong to this user and be closed to all others.

_MAGIC = b"seccomp1"
# After the magic: the checksum of all that follows it, the flags, and the lengths of key, library's path, origin.
_HEADER = struct.Struct("=8sIIIII")
_ENTRIES = 64


def _cached(directory: str, key: bytes) -> Filter | None:
    """Return the filter that was kept for `key`; None if there is none that can be trusted."""
    try:
        fd = _open_directory(directory)
    except OSError:
        return None
    try:
        with os.fdopen(os.open(_entry(key), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd), "rb") as file:
            entry = file.read()
    except OSError:
        return None
    finally:
        os.close(fd)
    return _parse(entry, key)


def _parse(entry: bytes, key: bytes) -> Filter | None:
    """Read an entry; None if it is damaged, for another profile, or made by other versions than are here now."""
    if len(entry) < _HEADER.size:
        return None
    magic, checksum, flags, key_length, library_length, origin_length = _HEADER.unpack_from(entry)
    if magic != _MAGIC or checksum != zlib.crc32(entry[12:]):
        return None
    library_at = _HEADER.size + key_length
    origin_at = library_at + library_length
    program_at = origin_at + origin_length
    library = entry[library_at:origin_at]
    program = entry[program_at:]
    if entry[_HEADER.size : library_at] != key or not program or len(program) % 8:
        return None
    try:
        unchanged = entry[origin_at:program_at] == _origin(library)
    except OSError:
        return None
    return Filter(program, flags) if unchanged else None


def _keep(directory: str, key: bytes, made: Filter) -> None:
    """Write a cache entry. Raises OSError.

    The file has no name while it is written (O_TMPFILE), so a minirun that is killed leaves nothing behind.
    """
    from minirun.kernel.seccomp import library_path

    library = os.fsencode(library_path())
    origin = _origin(library)
    rest = struct.pack("=IIII", made.flags, len(key), len(library), len(origin)) + key + library + origin + made.program
    make_private(directory)
    fd = _open_directory(directory)
    try:
        _forget_oldest(fd)
        file = open_nameless(f"/proc/self/fd/{fd}")
        try:
            write_all(file, _MAGIC + struct.pack("=I", zlib.crc32(rest)) + rest)
            remove(_entry(key), fd)
            give_name(file, f"/proc/self/fd/{fd}/{_entry(key)}")
        finally:
            os.close(file)
    finally:
        os.close(fd)


def _forget_oldest(directory_fd: int) -> None:
    """Make room: profiles that users edit would otherwise add up."""
    with os.scandir(directory_fd) as entries:
        oldest_first = sorted(entries, key=lambda entry: entry.stat(follow_symlinks=False).st_mtime_ns)
    for entry in oldest_first[: max(0, len(oldest_first) - _ENTRIES + 1)]:
        remove(entry.name, directory_fd)


def _open_directory(directory: str) -> int:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    state = os.fstat(fd)
    if state.st_uid != os.geteuid() or state.st_mode & 0o077:
        os.close(fd)
        raise PermissionError(EPERM, "others have access to it", directory)
    return fd


def _entry(key: bytes) -> str:
    """Return the file name for a key. That two keys share one costs time only: the entry says whose it is."""
    return f"{zlib.crc32(key):08x}"


def _origin(library: bytes) -> bytes:
    """Describe the state of the files that turn a profile into a program, as make(1) would look at them."""
    compiler = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(__file__))), "kernel", "seccomp.py")
    states = [os.stat(path) for path in (library, __file__, compiler)]
    return b"".join(struct.pack("=QQ", state.st_mtime_ns, state.st_size) for state in states)
