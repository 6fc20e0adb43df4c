"""The commands that handle containers: each finds them, calls the engine, and prints what Docker prints."""

from __future__ import annotations

import os

import click

from minirun.cli.command import Command
from minirun.cli.context import for_each, swept_layout
from minirun.errors import DamagedError, MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from minirun.model.container import ContainerRecord
    from minirun.model.layout import Layout

_NAMES = click.argument("names", nargs=-1, required=True, metavar="CONTAINER...")
_NAME = click.argument("name", metavar="CONTAINER")
_DETACH_KEYS = click.option("--detach-keys", default="", help="Keys that detach (default ctrl-p,ctrl-q).")
_SIG_PROXY = click.option("--sig-proxy", is_flag=True, default=True, help="Forward signals (default true).")


def _all(
    names: tuple[str, ...],
    act: Callable[[Layout, list[ContainerRecord]], dict[str, MinirunError]],
    then: Callable[[Layout, ContainerRecord], object] = lambda *_: None,
    *,
    lenient: bool = False,
) -> None:
    """Do `act` with all containers at once, then what comes `then` with each, and print its name as it was given.

    Errors come in the order of the names, too. With `lenient` a container that is not there is none.
    """
    from minirun.engine.container import records

    layout = swept_layout()
    found: dict[str, ContainerRecord | MinirunError] = {}
    for name in names:
        try:
            found[name] = records.find_any(layout, name)
        except MinirunError as error:
            found[name] = error
    known = {each.id: each for each in found.values() if not isinstance(each, MinirunError)}
    failures = act(layout, list(known.values()))

    def tell(name: str) -> None:
        each = found[name]
        if isinstance(each, MinirunError):
            if not lenient:
                raise each
            click.echo(f"minirun: {each.message}", err=True)  # gone is what was wanted
            return
        if each.id in failures:
            raise failures[each.id]
        then(layout, each)
        click.echo(name)

    for_each(names, tell)


def _each(names: tuple[str, ...], act: Callable[[Layout, ContainerRecord], object]) -> None:
    """Do `act` with each container and print its name as it was given."""
    from minirun.engine.container import records

    layout = swept_layout()

    def find_and_act(name: str) -> None:
        act(layout, records.find(layout, name))
        click.echo(name)

    for_each(names, find_and_act)


# -- life ------------------------------------------------------------------------------------------------------------


@click.command(cls=Command)
@click.option("-a", "--attach", is_flag=True, help="Attach standard output and error, and wait for the end.")
@click.option("-i", "--interactive", is_flag=True, help="Attach standard input.")
@_SIG_PROXY
@_DETACH_KEYS
@_NAMES
def start(names: tuple[str, ...], attach: bool, interactive: bool, sig_proxy: bool, detach_keys: str) -> int:
    """Start one or more stopped containers."""
    from minirun.engine.container import attaching, records, starting

    if not attach and not interactive:
        _each(names, starting.start)
        return 0
    layout = swept_layout()
    if len(names) > 1:
        raise MinirunError("you cannot start and attach multiple containers at once")
    record = records.find(layout, names[0])
    _check_terminal(record, reads=interactive)
    streams = frozenset({"stdout", "stderr", *(["stdin"] if interactive else [])})
    return starting.start(layout, record, attaching.Attachment(streams, sig_proxy, detach_keys))


@click.command(cls=Command)
@click.option("--no-stdin", is_flag=True, help="Do not attach standard input.")
@_SIG_PROXY
@_DETACH_KEYS
@_NAME
def attach(name: str, no_stdin: bool, sig_proxy: bool, detach_keys: str) -> int:
    """Attach your standard streams to a running container."""
    from minirun.engine.container import attaching, records, running

    layout = swept_layout()
    record = records.find(layout, name)
    _check_terminal(record, reads=not no_stdin)
    streams = frozenset({"stdout", "stderr", *([] if no_stdin else ["stdin"])})
    return running.attach(layout, record, attaching.Attachment(streams, sig_proxy, detach_keys))


def _check_terminal(record: ContainerRecord, *, reads: bool) -> None:
    if reads and record.request.tty and record.request.open_stdin and not os.isatty(0):
        raise MinirunError("the input device is not a TTY", "Run it from a terminal.")


@click.command(cls=Command)
@click.option("-t", "--timeout", "--time", type=int, help="How long to wait before killing; -1: for ever.")
@_NAMES
def stop(names: tuple[str, ...], timeout: int | None) -> None:
    """Stop one or more running containers: ask first, then kill."""
    from minirun.engine.container import ending

    _all(names, lambda layout, records: ending.stop(layout, records, timeout))


@click.command(cls=Command)
@click.option("-t", "--timeout", "--time", type=int, help="How long to wait before killing; -1: for ever.")
@_NAMES
def restart(names: tuple[str, ...], timeout: int | None) -> None:
    """Stop one or more containers and start them again."""
    from minirun.engine.container import ending, starting

    _all(names, lambda layout, records: ending.stop(layout, records, timeout), starting.start)


@click.command(cls=Command)
@click.option("-s", "--signal", default="KILL", help="Signal to send (default KILL).")
@_NAMES
def kill(names: tuple[str, ...], signal: str) -> None:
    """Send a signal to one or more running containers."""
    from minirun.engine.container import ending

    _all(names, lambda layout, records: ending.kill(layout, records, signal))


@click.command(cls=Command)
@_NAMES
def pause(names: tuple[str, ...]) -> None:
    """Freeze all processes of one or more containers."""
    from minirun.engine.container import running

    _each(names, running.pause)


@click.command(cls=Command)
@_NAMES
def unpause(names: tuple[str, ...]) -> None:
    """Let the processes of one or more paused containers go on."""
    from minirun.engine.container import running

    _each(names, running.unpause)


@click.command(cls=Command)
@click.option("-f", "--force", is_flag=True, help="Kill what runs.")
@click.option("-v", "--volumes", is_flag=True, help="Remove its anonymous volumes, too.")
@_NAMES
def rm(names: tuple[str, ...], force: bool, volumes: bool) -> None:
    """Remove one or more containers."""
    from minirun.engine.container import ending

    _all(
        names,
        lambda layout, records: ending.remove(layout, records, force=force, anonymous_volumes=volumes),
        lenient=force,
    )


@click.command(cls=Command)
@_NAME
@click.argument("new_name")
def rename(name: str, new_name: str) -> None:
    """Rename a container."""
    from minirun.engine.container import records
    from minirun.engine.request.options import check_name

    layout = swept_layout()
    records.rename(layout, records.find(layout, name), check_name(new_name))


@click.command(cls=Command)
@_NAMES
def wait(names: tuple[str, ...]) -> None:
    """Wait until containers end and print their exit codes."""
    from minirun.engine.container import records, running

    layout = swept_layout()
    for_each(names, lambda name: click.echo(running.wait(layout, records.find_any(layout, name))))


@click.command("exec", cls=Command, context_settings={"allow_interspersed_args": False})
@click.option("-d", "--detach", is_flag=True, help="Run in the background.")
@click.option("-i", "--interactive", is_flag=True, help="Keep standard input open.")
@click.option("-t", "--tty", is_flag=True, help="Allocate a terminal.")
@click.option("--privileged", is_flag=True, help="Give the command all capabilities.")
@click.option("-e", "--env", multiple=True, help="Set a variable; a NAME alone takes minirun's own value.")
@click.option("--env-file", multiple=True, help="Read environment variables from a file.")
@click.option("-w", "--workdir", default="", help="Work directory.")
@click.option("-u", "--user", default="", help="Run as this user, by names or numbers.")
@_DETACH_KEYS
@_NAME
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND [ARG...]")
def exec_(name: str, command: tuple[str, ...], **options: Any) -> int:
    """Run a further COMMAND in a running container."""
    from minirun.engine.container import attaching, records, running
    from minirun.engine.spec.environment import from_flags
    from minirun.model.container import ExecRequest

    layout = swept_layout()
    record = records.find(layout, name)
    request = ExecRequest(
        command=command,
        environment=from_flags(options["env_file"], options["env"]),
        working_dir=options["workdir"],
        user=options["user"],
        tty=options["tty"],
        open_stdin=options["interactive"],
        detach=options["detach"],
        privileged=options["privileged"],
    )
    if request.tty and request.open_stdin and not request.detach and not os.isatty(0):
        raise MinirunError("the input device is not a TTY", "Leave out --tty, or run it from a terminal.")
    streams = frozenset({"stdout", "stderr", *(["stdin"] if request.open_stdin else [])})
    attachment = None if request.detach else attaching.Attachment(streams, detach_keys=options["detach_keys"])
    try:
        return running.execute(layout, record, request, attachment)
    except MinirunError as error:
        from minirun.cli.help import advice

        raise advice.improve(error, f"exec {name}", command) from error


# -- looking ---------------------------------------------------------------------------------------------------------


@click.command(cls=Command)
@click.option("-a", "--all", "everything", is_flag=True, help="Show those that do not run, too.")
@click.option("-q", "--quiet", is_flag=True, help="Show ids only.")
@click.option("-n", "--last", type=int, default=-1, help="Show the last N made.")
@click.option("-l", "--latest", is_flag=True, help="Show the last one made.")
@click.option("--no-trunc", is_flag=True, help="Do not cut ids and commands.")
@click.option("-s", "--size", is_flag=True, help="Show the size of what they have written.")
@click.option("--format", "template", default="", help="A Go template, 'table TEMPLATE', or json.")
@click.option("-f", "--filter", "filters", multiple=True, help="Only those: name, status, label, ancestor, ...")
def ps(
    everything: bool,
    quiet: bool,
    last: int,
    latest: bool,
    no_trunc: bool,
    size: bool,
    template: str,
    filters: tuple[str, ...],
) -> None:
    """List containers."""
    from minirun.cli.output import ps as ps_output
    from minirun.cli.output.template import print_rows

    layout = swept_layout()
    wanted = ps_output.Filters.parse(layout, filters)
    limit = 1 if latest else last
    every = everything or limit > 0 or wanted.asks_for_state
    rows = []
    for record, now in ps_output.containers(layout):
        if (every or now.is_running) and wanted.match(record, now):
            rows.append(ps_output.row(layout, record, now, truncate=not no_trunc, size=size))
    rows = rows[:limit] if limit > 0 else rows
    if quiet and not template:
        template = "{{.ID}}"
    default = ps_output.TABLE_WITH_SIZE if size else ps_output.TABLE
    text = print_rows(template or default, rows, ps_output.HEADERS)
    if text or not quiet:
        click.echo(text, nl=bool(text))


@click.command(cls=Command)
@click.option("-f", "--format", "template", default="", help="A Go template, or json.")
@click.option("--type", "kind", type=click.Choice(["container", "image"]), help="Look for this kind only.")
@click.option("-s", "--size", is_flag=True, hidden=True)
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def inspect(names: tuple[str, ...], template: str, kind: str | None, size: bool) -> None:  # noqa: ARG001 - Docker's flag
    """Print all that is known about containers or images, as JSON."""
    from minirun.cli.output import ps as ps_output

    layout = swept_layout()
    ps_output.print_documents(names, template, lambda name: _document(layout, name, kind))


def _document(layout: Layout, name: str, kind: str | None) -> dict[str, Any]:
    from minirun.cli.output.ps import image_config
    from minirun.engine.container import inspect, records
    from minirun.engine.container.status import status as status_of
    from minirun.engine.image import images
    from minirun.storage.images import find as find_image

    if kind != "image":
        try:
            record = records.find(layout, name)
        except MinirunError as error:
            if kind == "container" or isinstance(error, DamagedError):
                raise
        else:
            status = status_of(layout, record)
            return inspect.container_document(layout, record, status, image_config(layout, record))
    try:
        return images.document(layout, find_image(layout, name))
    except MinirunError as error:
        if kind or isinstance(error, DamagedError):
            raise
        raise MinirunError(f"No such object: {name}", exit_code=1) from error


@click.command(cls=Command)
@_NAME
@click.argument("private", required=False, metavar="[PORT[/PROTOCOL]]")
def port(name: str, private: str | None) -> None:
    """Show where a container's ports are published."""
    from minirun.cli.output.ps import address
    from minirun.engine.container import publishing, records
    from minirun.engine.container.status import status as status_of

    layout = swept_layout()
    record = records.find(layout, name)
    runs = status_of(layout, record).is_running
    if runs:
        publishing.look_after(layout, record)
    published = record.endpoint.ports if record.endpoint and runs else ()
    if private is None:
        for mapping in published:
            click.echo(f"{mapping.container_port}/{mapping.protocol} -> {address(mapping)}")
        return
    wanted = private.lower() if "/" in private else f"{private}/tcp"
    found = [mapping for mapping in published if f"{mapping.container_port}/{mapping.protocol}" == wanted]
    if not found:
        raise MinirunError(f"no public port '{wanted}' published for {name}")
    for mapping in found:
        click.echo(address(mapping))
