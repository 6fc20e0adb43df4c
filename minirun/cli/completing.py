"""What a word on the command line may become: commands, flags, containers, images, topics."""

from __future__ import annotations

import click

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from minirun.model.layout import Layout

_RUNNING = frozenset({"stop", "kill", "exec", "attach", "pause", "top", "port", "stats", "restart"})
_ANY = frozenset({"start", "rm", "logs", "inspect", "wait", "rename", "unpause"})
_IMAGES = frozenset({"run", "create", "rmi", "tag", "history"})


def candidates(layout: Layout, words: Sequence[str]) -> list[str]:
    """Return the completions of the last of `words` (those after "minirun"); none where the store is not readable."""
    from minirun.cli.main import COMMANDS, cli

    *before, current = words or ("",)
    root = click.Context(cli, info_name="minirun")
    command: click.Command = cli
    for word in before:
        inner = command.get_command(root, word) if isinstance(command, click.Group) else None
        if inner is not None:
            command = inner
    found: Iterable[str]
    if current.startswith("-"):
        found = _flags(command, root)
    elif command is cli:
        found = COMMANDS
    elif isinstance(command, click.Group):
        found = command.list_commands(root)
    else:
        found = _names(layout, command.name or "")
    return sorted(name for name in found if name.startswith(current))


def _flags(command: click.Command, ctx: click.Context) -> list[str]:
    options = (option for option in command.get_params(ctx) if isinstance(option, click.Option) and not option.hidden)
    return [name for option in options for name in option.opts if name.startswith("--")]


def _names(layout: Layout, command: str) -> Iterable[str]:
    """Return names by reading the store's small files only: nothing is imported or asked of the kernel for it."""
    if command in _RUNNING or command in _ANY:
        return _containers(layout, running=command in _RUNNING)
    if command in _IMAGES:
        return _images(layout)
    if command == "explain":
        from minirun.explain.topics import CHAPTERS

        return CHAPTERS
    return ()


def _containers(layout: Layout, *, running: bool) -> list[str]:
    import os

    try:
        names = {name: os.readlink(f"{layout.names}/{name}") for name in os.listdir(layout.names)}
        alive = set(os.listdir(layout.bundles)) if running else set()
    except OSError:
        return []
    return [name for name, container_id in names.items() if not running or container_id in alive]


def _images(layout: Layout) -> list[str]:
    from minirun.model.image import ImageRef
    from minirun.storage.images import read_names

    try:
        return [ImageRef.parse(name).familiar for name in read_names(layout)]
    except OSError:
        return []
