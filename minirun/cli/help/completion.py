"""What a word on the command line may become: commands, flags and their values, containers, images, topics.

Nothing is asked of the kernel, and of the store only small files are read. Where there is nothing to say, shells offer
files.
"""

from __future__ import annotations

import os

import click

from minirun.model.layout import Layout
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

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
    "--pull": ("missing", "never"),
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
    """What the words before the last one mean: the command, its name, what it has been given, and the flag that waits
    for its value."""

    command: click.Command
    path: tuple[str, ...]
    arguments: tuple[str, ...]
    option: click.Option | None
    layout: Layout


def candidates(layout: Layout, words: Sequence[str]) -> list[str]:
    """Return the completions of the last of `words` (those after "minirun"); none where the store is not readable."""
    *before, current = words or ("",)
    line = _read(layout, before)
    options = {} if line.arguments and _ends_options(line.command) else _options(line.command)
    name, equals, value = current.partition("=")
    if line.option is not None:
        found = _values(line, line.option, current)
    elif current.startswith("--") and equals:
        found = [f"{name}={each}" for each in _values(line, options[name], value)] if name in options else ()
    elif current.startswith("-"):
        found = [flag for flag in options if flag.startswith("--")]
    elif isinstance(line.command, click.Group):
        found = line.command.list_commands(click.Context(line.command))
    else:
        found = _arguments(line, current)
    return sorted(each for each in found if each.startswith(current))


def _read(layout: Layout, words: Sequence[str]) -> _Line:
    from minirun.cli.main import cli

    command: click.Command = cli
    path: list[str] = []
    arguments: list[str] = []
    option: click.Option | None = None
    places = {"--root": layout.root, "--state": layout.state}
    for word in words:
        options = _options(command)
        if option is not None:
            places.update({name: word for name in option.opts if name in places})
            option = None
        elif word.startswith("-") and word != "-" and not (arguments and _ends_options(command)):
            name, equals, value = word.partition("=")
            name = name if name.startswith("--") else f"-{name[-1]}"
            found = options.get(name)
            if found is not None and not found.is_flag and not equals:
                option = found
            places.update({name: value} if equals and name in places else {})
        else:
            inner = command.get_command(click.Context(command), word) if isinstance(command, click.Group) else None
            if inner is not None:
                command = inner
                path.append(word)
            else:
                arguments.append(word)
    return _Line(command, tuple(path), tuple(arguments), option, Layout(places["--root"], places["--state"]))


def _ends_options(command: click.Command) -> bool:
    """Say whether what follows the first argument is the container's."""
    return not command.context_settings.get("allow_interspersed_args", True)


def _options(command: click.Command) -> dict[str, click.Option]:
    shown = (option for option in command.params if isinstance(option, click.Option) and not option.hidden)
    return {name: option for option in shown for name in option.opts}


def _values(line: _Line, option: click.Option, value: str) -> Iterable[str]:
    """Return what the value of a flag may be."""
    name = next((name for name in option.opts if name.startswith("--")), "")
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
    if name == "--filter":
        return _FILTERS.get(line.command.name or "", ())
    return _VALUES.get(name, ())


def _arguments(line: _Line, current: str) -> Iterable[str]:
    command, group = line.command.name or "", line.path[0] if line.path else ""
    if line.arguments and command in _ONE:
        return ()
    find: dict[str, Callable[[], Iterable[str]]] = {
        "completion": lambda: ("bash", "fish", "zsh"),
        "explain": _chapters,
        "help": lambda: _commands(line.arguments),
        "inspect": lambda: _inspectable(line.layout, group),
    }
    if command in find:
        return find[command]()
    if command in _IMAGES:
        return _images(line.layout, with_tag=":" in current)
    if command in _RUNNING | _STOPPED | _ANY:
        running = None if command in _ANY else command in _RUNNING
        return [name for name in _containers(line.layout, running=running) if name not in line.arguments]
    return ()


def _commands(words: Sequence[str]) -> Iterable[str]:
    command = _read(Layout(), words).command
    return command.list_commands(click.Context(command)) if isinstance(command, click.Group) else ()


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
