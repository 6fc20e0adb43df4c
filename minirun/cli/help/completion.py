"""Completions of a word on the command line: commands, flags and their values, containers, images, topics.

Nothing is asked of the kernel, and of the store only small files are read. Where there is nothing to say, shells offer
files.
"""

from __future__ import annotations

import os

from minirun.cli.call import with_common
from minirun.cli.verbs.table import MINIRUN, Group
from minirun.model.layout import Layout
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from minirun.cli.grammar import Flag, Verb

_RUNNING = frozenset({"attach", "exec", "kill", "pause", "port", "restart", "stats", "stop", "top", "unpause"})
_STOPPED = frozenset({"start"})
_ANY = frozenset({"logs", "rename", "rm", "wait"})
_IMAGES = frozenset({"create", "history", "images", "rmi", "run", "tag"})
# Those that take only one of what is completed; what follows is something else.
_ONE = frozenset({"attach", "create", "exec", "history", "images", "logs", "port", "rename", "run", "top"})
_STATES = ("created", "running", "paused", "exited")
# What the values of flags may be, by a flag's first long name; words that end with ":" or "=" go on.
_VALUES: dict[str, Sequence[str]] = {
    "--attach": ("stdin", "stdout", "stderr"),
    "--cgroupns": ("host", "private"),
    "--format": ("json", "table"),
    "--ipc": ("host", "none", "private", "shareable"),
    "--log-driver": ("json-file", "none"),
    "--log-opt": ("max-file=", "max-size="),
    "--network": ("bridge", "host", "none", "container:"),
    "--pid": ("host", "container:"),
    "--platform": ("linux/amd64",),
    "--pull": ("always", "missing", "never"),
    "--restart": ("no",),
    "--security-opt": ("no-new-privileges", "seccomp=", "seccomp=unconfined", "systempaths=unconfined"),
    "--type": ("container", "image"),
    "--userns": ("host",),
    "--uts": ("host",),
}
_FILTERS = {
    "ps": ("ancestor=", "exited=", "id=", "label=", "name=", *(f"status={state}" for state in _STATES), "volume="),
    "images": ("before=", "dangling=false", "dangling=true", "label=", "reference=", "since="),
}


class _Line(Record):
    """What the words before the last one mean: the group or verb, both by their names, what it has been given, and the
    flag that waits for its value."""

    here: Group | Verb
    group: str
    verb: str
    arguments: tuple[str, ...]
    flag: Flag | None
    layout: Layout


def candidates(layout: Layout, words: Sequence[str]) -> list[str]:
    """Return the completions of the last of `words` (those after "minirun"); none where the store is not readable."""
    *before, current = words or ("",)
    line = _read(layout, before)
    flags = {} if line.arguments and _ends_flags(line.here) else _flags(line.here)
    name, equals, value = current.partition("=")
    found: Iterable[str]
    if line.flag is not None:
        found = _values(line, line.flag, current)
    elif current.startswith("--") and equals:
        found = [f"{name}={each}" for each in _values(line, flags[name], value)] if name in flags else ()
    elif current.startswith("-"):
        found = [flag for flag in flags if flag.startswith("--")]
    elif isinstance(line.here, Group):
        found = line.here.verbs
    else:
        found = _arguments(line, current)
    return sorted(each for each in found if each.startswith(current))


def _read(layout: Layout, words: Sequence[str]) -> _Line:
    """Parse a line that is incomplete, and may be wrong."""
    here: Group | Verb = MINIRUN
    group = verb = ""
    arguments: list[str] = []
    waiting: Flag | None = None
    places = {"--root": layout.root, "--state": layout.state}
    for word in words:
        if waiting is not None:
            places.update({name: word for name in waiting.names if name in places})
            waiting = None
        elif word.startswith("-") and word != "-" and not (arguments and _ends_flags(here)):
            name, equals, value = word.partition("=")
            name = name if name.startswith("--") else f"-{name[-1]}"
            found = _flags(here).get(name)
            if found is not None and found.kind != "switch" and not equals:
                waiting = found
            places.update({name: value} if equals and name in places else {})
        else:
            inner = here.find(word) if isinstance(here, Group) else None
            if inner is not None and isinstance(here, Group):
                group, verb = verb, here.place(word)[1].rpartition(" ")[2] or word
                here = inner
            else:
                arguments.append(word)
    return _Line(here, group, verb, tuple(arguments), waiting, Layout(places["--root"], places["--state"]))


def _ends_flags(here: Group | Verb) -> bool:
    """Say whether what follows the first argument is the container's."""
    return not isinstance(here, Group) and not here.interspersed


def _flags(here: Group | Verb) -> dict[str, Flag]:
    return {name: flag for flag in with_common(here.flags) if flag.about for name in flag.names}


_VOLUME_FILTERS = ("dangling=false", "dangling=true", "driver=local", "label=", "name=")


def _values(line: _Line, flag: Flag, value: str) -> Iterable[str]:
    """Return the possible values of a flag."""
    name = f"--{flag.key}"
    if name == "--network" or (name in ("--pid", "--ipc") and value.startswith("container:")):
        names = [f"container:{each}" for each in _containers(line.layout, running=True)]
        return [*_VALUES[name], *names] if value.startswith("container:") else _VALUES[name]
    if name in ("--cap-add", "--cap-drop"):
        from minirun.model.capabilities import NAMES

        return ["ALL", *(each.removeprefix("CAP_") for each in NAMES)]
    if name in ("--signal", "--stop-signal"):
        import signal

        return [each.name.removeprefix("SIG") for each in signal.Signals]
    if name == "--volumes-from":
        return _containers(line.layout)
    if name == "--volume":
        return [f"{volume}:" for volume in _volumes(line.layout)]
    if name == "--filter" and line.group == "volume":
        return ("label=", "label!=") if line.verb == "prune" else _VOLUME_FILTERS
    if name == "--filter":
        return _FILTERS.get(line.verb, ())
    return _VALUES.get(name, ())


def _arguments(line: _Line, current: str) -> Iterable[str]:
    command = line.verb
    if line.arguments and command in _ONE:
        return ()
    find: dict[str, Callable[[], Iterable[str]]] = {
        "completion": lambda: ("bash", "fish", "zsh"),
        "explain": _chapters,
        "help": lambda: _commands(line.arguments),
        "inspect": lambda: _inspectable(line.layout, line.group),
    }
    if line.group == "volume":
        names = _volumes(line.layout) if command in ("rm", "inspect") else []
        return [name for name in names if name not in line.arguments]
    if command in find:
        return find[command]()
    if command in _IMAGES:
        return _images(line.layout, with_tag=":" in current)
    if command in _RUNNING | _STOPPED | _ANY:
        running = None if command in _ANY else command in _RUNNING
        return [name for name in _containers(line.layout, running=running) if name not in line.arguments]
    return ()


def _commands(words: Sequence[str]) -> Iterable[str]:
    here = _read(Layout(), words).here
    return here.verbs if isinstance(here, Group) else ()


def _chapters() -> Iterable[str]:
    from minirun.explain.topics import CHAPTERS

    return CHAPTERS


def _inspectable(layout: Layout, group: str) -> list[str]:
    there = [] if group == "image" else _containers(layout)
    return there if group == "container" else [*there, *_images(layout, with_tag=True)]


def _containers(layout: Layout, *, running: bool | None = None) -> list[str]:
    """Return the names of the containers that run, of those that do not, or of all."""
    try:
        names = {name: os.readlink(f"{layout.names}/{name}") for name in os.listdir(layout.names)}
        alive = set(os.listdir(layout.bundles)) if running is not None and os.path.isdir(layout.bundles) else set()
    except OSError:
        return []
    return [name for name, container_id in names.items() if running is None or (container_id in alive) == running]


def _volumes(layout: Layout) -> list[str]:
    """Return the names of volumes."""
    from minirun.storage.volumes.records import names

    try:
        return names(layout)
    except OSError:
        return []


def _images(layout: Layout, *, with_tag: bool) -> list[str]:
    """Return the names of images, without the tag "latest" unless `with_tag`."""
    from minirun.errors import MinirunError
    from minirun.model.image import ImageRef
    from minirun.storage.images import read_names

    try:
        names = [ImageRef.parse(name).familiar for name in read_names(layout)]
    except (OSError, MinirunError):
        return []
    return names if with_tag else [name.removesuffix(":latest") for name in names]
