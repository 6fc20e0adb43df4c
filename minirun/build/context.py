"""The build context: where the Dockerfile is, and what there is to copy from."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager

from minirun.build.dockerfile.error import DockerfileError
from minirun.errors import MinirunError
from minirun.kernel.hostfiles import read_small
from minirun.model.record import Record
from minirun.storage.ingest import Ingest
from minirun.storage.layers import unpack_layer
from minirun.storage.tar.compression import compression_of
from minirun.storage.tar.tar_fields import sums_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minirun.model.layout import Layout

DOCKERFILE = "Dockerfile"
_IGNORE = ".dockerignore"
_PIECE = 1 << 20
_BLOCK = 512
_GIT = ("git@", "git://", "ssh://", "github.com/")
_REMOTE = ("http://", "https://")


class Context(Record):
    """A Dockerfile's text and name, the directory to copy from ("" for none), and what .dockerignore says."""

    dockerfile: str
    dockerfile_name: str
    directory: str
    ignore: str


@contextmanager
def opened(layout: Layout, place: str, dockerfile: str) -> Iterator[Context]:
    """Give the context at `place`, a directory or "-", with the Dockerfile that is named ("" for the usual one).

    Raises MinirunError (1).
    """
    if place == "-":
        if dockerfile == "-":
            raise MinirunError("invalid argument: can't use stdin for both build context and dockerfile", exit_code=1)
        with _from_stdin(layout, dockerfile) as context:
            yield context
        return
    if place.startswith((*_GIT, *_REMOTE)):
        raise MinirunError(
            f"{place}: only directories are build contexts",
            "Clone or download it, and name the directory.",
            exit_code=1,
        )
    if not os.path.isdir(place):
        raise MinirunError(f'unable to prepare context: path "{place}" not found', "Name a directory.", exit_code=1)
    yield _of_directory(os.path.abspath(place), dockerfile)


def _of_directory(directory: str, dockerfile: str) -> Context:
    if dockerfile == "-":
        text = _text(_whole_stdin(), "standard input")
        return Context(text, DOCKERFILE, directory, _ignore(directory, ""))
    path = dockerfile or f"{directory}/{DOCKERFILE}"
    if not dockerfile and not os.path.exists(path) and os.path.exists(f"{directory}/{DOCKERFILE.lower()}"):
        path = f"{directory}/{DOCKERFILE.lower()}"
    try:
        text = _text(read_small(path), path)
    except OSError as error:
        raise MinirunError(
            f"failed to read dockerfile: open {os.path.basename(path)}: {(error.strerror or '').lower()}",
            "-f names a Dockerfile that is elsewhere.",
            exit_code=1,
        ) from error
    return Context(text, os.path.basename(path), directory, _ignore(directory, path))


def _ignore(directory: str, dockerfile: str) -> str:
    """Return the rules that are the Dockerfile's own, beside it, or else the context's."""
    for path in ([f"{dockerfile}.dockerignore"] if dockerfile else []) + [f"{directory}/{_IGNORE}"]:
        try:
            return _text(read_small(path), path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise MinirunError(f"cannot read {path}: {error.strerror}", exit_code=1) from error
    return ""


@contextmanager
def _from_stdin(layout: Layout, dockerfile: str) -> Iterator[Context]:
    """Read a Dockerfile, or a tar with one, compressed or not."""
    if os.isatty(0):
        raise MinirunError(
            "standard input is a terminal, and no Dockerfile", "For example minirun build - < Dockerfile.", exit_code=1
        )
    head = b""
    while len(head) < _BLOCK and (piece := os.read(0, _BLOCK - len(head))):
        head += piece
    if not compression_of(head) and not (len(head) == _BLOCK and sums_up(head)):
        if dockerfile:
            raise MinirunError("-f names a file of the context, and standard input is no archive", exit_code=1)
        yield Context(_text(head + _whole_stdin(), "standard input"), DOCKERFILE, "", "")
        return
    with Ingest(layout) as ingest:
        unpack_layer(_pieces(head), f"{ingest.path}/context")
        directory = f"{ingest.path}/context/diff"
        yield _of_directory(directory, f"{directory}/{dockerfile}" if dockerfile else "")


def _pieces(head: bytes) -> Iterator[bytes]:
    yield head
    while piece := os.read(0, _PIECE):
        yield piece


def _whole_stdin() -> bytes:
    return sys.stdin.buffer.read()


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise DockerfileError(f"{where} is not text in UTF-8") from None
