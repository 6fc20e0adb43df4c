"""`cp`."""

from __future__ import annotations

import os
import sys

from minirun.cli.grammar import Verb, switch
from minirun.errors import MinirunError, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minirun.cli.call import Call

_PIECE = 1 << 20


def cp(call: Call) -> None:
    """Copy files or directories between a container, which may run or not, and the host.

    "-" is a tar on standard input or output. A source that ends in "/." means what is in the directory. Volumes are
    seen; /proc, /sys, /dev and tmpfs are not.
    """
    source, destination = call.arguments
    if not source:
        raise MinirunError("source can not be empty")
    if not destination:
        raise MinirunError("destination can not be empty")
    from_container, source_path = _split(source)
    to_container, path = _split(destination)
    if from_container and to_container:
        raise MinirunError("copying between containers is not supported", "Copy to the host and from there.")
    if from_container:
        _copy_out(call, from_container, source_path, path)
    elif to_container:
        _copy_in(call, source_path, to_container, path)
    else:
        raise MinirunError("must specify at least one container source", "Write it as CONTAINER:PATH.")


def _copy_out(call: Call, container: str, path: str, to: str) -> None:
    from minirun.cli.output.to_file import write_output
    from minirun.engine.container.records import find
    from minirun.engine.files import copying

    layout = call.swept_layout()
    record = find(layout, container)
    follow, absolute = call.switch("follow-link"), f"/{path.lstrip('/')}"
    if to == "-":
        if sys.stdout.isatty():
            raise MinirunError("cowardly refusing to save to a terminal", "Redirect standard output.", 1)
        copying.copy_tar_out(layout, record, absolute, lambda pieces: write_output("", pieces), follow=follow)
        return
    owner = None if call.switch("archive") else (os.geteuid(), os.getegid())
    size = copying.copy_out(layout, record, absolute, _absolute(to), follow=follow, owner=owner)
    _tell_success(call, size, _absolute(to))


def _copy_in(call: Call, source: str, container: str, path: str) -> None:
    from minirun.engine.container.records import find
    from minirun.engine.files import copying

    layout = call.swept_layout()
    record = find(layout, container)
    absolute, keep = f"/{path.lstrip('/')}", call.switch("archive")
    if source == "-":
        if sys.stdin.isatty():
            raise MinirunError("standard input is a terminal, and not a tar", "Redirect it.", 1)
        size = copying.copy_tar_in(layout, record, _standard_input(), absolute, keep_owner=keep)
    else:
        follow = call.switch("follow-link")
        size = copying.copy_in(layout, record, _absolute(source), absolute, follow=follow, keep_owner=keep)
    _tell_success(call, size, f"{container}:{absolute}")


def _split(argument: str) -> tuple[str, str]:
    """Split CONTAINER:PATH; what begins with "/" or "." is a path of the host, whatever colons are in it."""
    container, colon, path = argument.partition(":")
    if not colon or argument.startswith(("/", ".")):
        return "", argument
    return container, path


def _absolute(path: str) -> str:
    """Return a path of the host that begins with "/"; its end stays as it was typed, for "x", "x/" and "x/." differ."""
    return path if path.startswith("/") else f"{os.getcwd().rstrip('/')}/{path}"


def _standard_input() -> Iterator[bytes]:
    while piece := os.read(0, _PIECE):
        yield piece


def _tell_success(call: Call, size: int, to: str) -> None:
    """Say that it is done, to people: Docker does where standard output is a terminal."""
    if not call.switch("quiet") and sys.stdout.isatty():
        from minirun.cli.output.words import decimal_size

        tell(f"Successfully copied {decimal_size(size)} to {to}")


VERBS = {
    "cp": Verb(
        cp,
        (
            switch("-a/--archive", "Keep owners; without it files belong to root, or to who copies them out."),
            switch("-L/--follow-link", "Copy what a symbolic link leads to, if the source is one."),
            switch("-q/--quiet", "Do not say what was copied."),
        ),
        "CONTAINER:PATH|PATH|- CONTAINER:PATH|PATH|-",
        summary="Copy files to and from a container",
        examples=(
            ("minirun cp web:/etc/nginx/nginx.conf .", "a file out of a container"),
            ("minirun cp site/. web:/srv", "what is in a directory into a container"),
        ),
    ),
}
