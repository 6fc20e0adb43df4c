"""`load`, `import`, `images`, `history`, `tag`, `rmi`, and the same again below `image`."""

from __future__ import annotations

import sys
import time

import click

from minirun.cli.command import Command, Group
from minirun.cli.context import for_each, host_layout
from minirun.cli.output.ps import json_text
from minirun.cli.output.template import Template, print_rows
from minirun.cli.output.words import decimal_size, duration, local_time
from minirun.engine.image import images as engine
from minirun.engine.image.images import NONE, HistoryEntry, Listed, Removal
from minirun.errors import MinirunError, warn
from minirun.storage.images import find
from minirun.storage.ingest import collect_garbage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from click._termui_impl import ProgressBar

    from minirun.model.layout import Layout
    from minirun.storage.progress import Progress

_SHORT_ID = 12
_COLUMN_WIDTH = 45
_PROGRESS_AFTER = 0.5
_HEADERS: dict[str, object] = {
    "ID": "IMAGE ID",
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
    "VirtualSize": "SIZE",
    "Containers": "CONTAINERS",
    "Comment": "COMMENT",
}


# -- into the store ----------------------------------------------------------------------------------------------------
@click.command(cls=Command, short_help="Load images from an archive or directory")
@click.option(
    "-i", "--input", "path", default="-", metavar="FILE", help="Archive or OCI layout directory; default: stdin."
)
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
def load(path: str, quiet: bool) -> None:
    """Load images that `docker save`, `podman save` or `skopeo copy` have written.

    The archive may be a tar, plain or compressed with gzip, zstd, xz or bzip2, or a directory with an OCI layout.
    """
    from minirun.storage.archive.found import Skipped
    from minirun.storage.archive.load import load as load_archive

    layout = host_layout()
    if path == "-" and sys.stdin.isatty():
        raise MinirunError(
            "requested load from stdin, but stdin is empty", "Name an archive with -i FILE.", exit_code=1
        )
    progress = _progress(quiet)
    try:
        for loaded in load_archive(layout, path, progress):
            progress.finish()
            if isinstance(loaded, Skipped):
                warn(f"skipped {loaded.name}: {loaded.reason}")
                continue
            for name in loaded.names:
                click.echo(f"Loaded image: {name.familiar}")
            if not loaded.names:
                click.echo(f"Loaded image ID: {loaded.image.id}")
    finally:
        progress.finish()


@click.command(name="import", cls=Command, short_help="Make an image from a tar of a file system")
@click.option("-c", "--change", "changes", multiple=True, metavar="INSTRUCTION", help="A Dockerfile instruction.")
@click.option("-m", "--message", default="", help="Comment of the image.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@click.argument("path", metavar="FILE|-")
@click.argument("name", metavar="[NAME[:TAG]]", default="")
def import_(path: str, name: str, changes: tuple[str, ...], message: str, quiet: bool) -> None:
    """Make an image of one layer from a tar, compressed or not, and print its id.

    Each --change is an instruction such as 'CMD ["/bin/sh"]', 'ENV A=b' or 'EXPOSE 80'.
    """
    layout = host_layout()
    progress = _progress(quiet)
    try:
        image = engine.import_image(layout, path, name, changes, message, progress)
    finally:
        progress.finish()
    click.echo(image.id)


# -- looking -----------------------------------------------------------------------------------------------------------
@click.command(cls=Command, short_help="List images")
@click.option("-a", "--all", "_all", is_flag=True, help="All images (there are no hidden ones).")
@click.option("--digests", is_flag=True, help="Show digests.")
@click.option("-f", "--filter", "filters", multiple=True, metavar="KEY=VALUE", help="reference, dangling, label, ...")
@click.option("--format", "template", default="", help="A Go template, 'table TEMPLATE', or 'json'.")
@click.option("--no-trunc", is_flag=True, help="Show whole ids.")
@click.option("-q", "--quiet", is_flag=True, help="Show ids only.")
@click.argument("repository", metavar="[REPOSITORY[:TAG]]", default="")
def images(
    _all: bool, digests: bool, filters: tuple[str, ...], template: str, no_trunc: bool, quiet: bool, repository: str
) -> None:
    """List the images in the store, the newest first."""
    lines = engine.list_images(_layout(), repository, filters)
    if quiet and not template:
        for line in lines:
            click.echo(_id(line.image.id, no_trunc))
        return
    digest_column = "{{.Digest}}\t" if digests else ""
    default = (
        f"table {{{{.Repository}}}}\t{{{{.Tag}}}}\t{digest_column}{{{{.ID}}}}\t{{{{.CreatedSince}}}}\t{{{{.Size}}}}"
    )
    if template == "table":
        template = ""
    _print(template or default, [_image_row(line, no_trunc) for line in lines])


@click.command(cls=Command, short_help="Show how an image came to be")
@click.option("--format", "template", default="", help="A Go template, 'table TEMPLATE', or 'json'.")
@click.option("-H", "--human/--no-human", default=True, help="Sizes and times as people read them.")
@click.option("--no-trunc", is_flag=True, help="Cut nothing.")
@click.option("-q", "--quiet", is_flag=True, help="Show ids only.")
@click.argument("reference", metavar="IMAGE")
def history(reference: str, template: str, human: bool, no_trunc: bool, quiet: bool) -> None:
    """Show the instructions that made an image, the last one first, and what each added."""
    layout = _layout()
    image = find(layout, reference)
    entries = engine.history(layout, image)
    rows = [
        _history_row(entry, _id(image.id, no_trunc) if number == 0 else "<missing>", human, no_trunc)
        for number, entry in enumerate(entries)
    ]
    if quiet and not template:
        template = "{{.ID}}"
    created = "{{.CreatedSince}}" if human else "{{.CreatedAt}}"
    default = f"table {{{{.ID}}}}\t{created}\t{{{{.CreatedBy}}}}\t{{{{.Size}}}}\t{{{{.Comment}}}}"
    _print(template or default, rows, {"ID": "IMAGE"})


@click.command(name="inspect", cls=Command, short_help="Show all that is known of images, as JSON")
@click.option("-f", "--format", "template", default="", help="A Go template, or 'json'.")
@click.argument("references", metavar="IMAGE...", nargs=-1, required=True)
def inspect(references: tuple[str, ...], template: str) -> None:
    """Print what `docker image inspect` does."""
    layout = _layout()
    documents: list[dict[str, Any]] = []

    def add(reference: str) -> None:
        documents.append(engine.document(layout, find(layout, reference)))

    try:
        for_each(references, add)
    finally:
        if template:
            compiled = Template("{{json .}}" if template == "json" else template)
            for document in documents:
                click.echo(compiled.render(document))
        else:
            click.echo(json_text(documents))


# -- names and removal -------------------------------------------------------------------------------------------------
@click.command(cls=Command, short_help="Give an image another name")
@click.argument("source", metavar="SOURCE[:TAG]")
@click.argument("target", metavar="TARGET[:TAG]")
def tag(source: str, target: str) -> None:
    """Let the name TARGET mean the image that SOURCE means."""
    engine.tag(_layout(), source, target)


@click.command(cls=Command, short_help="Remove images")
@click.option("-f", "--force", is_flag=True, help="Also when it has several names or a stopped container uses it.")
@click.option("--no-prune", is_flag=True, help="Accepted for Docker's sake: there are no untagged parents here.")
@click.argument("references", metavar="IMAGE...", nargs=-1, required=True)
def rmi(references: tuple[str, ...], force: bool, no_prune: bool) -> None:  # noqa: ARG001
    """Remove names, and images with their last one. Layers that other images share stay."""
    layout = _layout()
    for_each(references, lambda reference: _print_removal(engine.remove(layout, reference, force=force)))


@click.command(cls=Command, short_help="Remove images that are not used")
@click.option("-a", "--all", "everything", is_flag=True, help="Not only those without a name.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.option("--filter", "filters", multiple=True, metavar="KEY=VALUE", help="label=..., label!=..., until=...")
def prune(everything: bool, force: bool, filters: tuple[str, ...]) -> None:
    """Remove images without a name, or with -a all that no container uses."""
    layout = _layout()
    if not force:
        what = "images without at least one container associated to them" if everything else "dangling images"
        click.echo(f"WARNING! This will remove all {what}.")
        if not click.confirm("Are you sure you want to continue?", default=False):
            return
    removals, freed = engine.prune(layout, everything=everything, filters=filters)
    if removals:
        click.echo("Deleted Images:")
        for removal in removals:
            _print_removal(removal, "untagged", "deleted")
        click.echo()
    click.echo(f"Total reclaimed space: {decimal_size(freed, 4)}")


@click.group(cls=Group, short_help="Manage images")
def image() -> None:
    """Manage images."""


for _name, _command in {
    "history": history,
    "import": import_,
    "inspect": inspect,
    "load": load,
    "ls": images,
    "prune": prune,
    "rm": rmi,
    "tag": tag,
}.items():
    image.add_command(_command, _name)


def _layout() -> Layout:
    """Return where the images are, cleared of what a killed command has left there."""
    layout = host_layout()
    collect_garbage(layout)
    return layout


# -- output ------------------------------------------------------------------------------------------------------------
def _print(template: str, rows: list[dict[str, object]], headers: dict[str, object] | None = None) -> None:
    text = print_rows(template, rows, {name: str(text) for name, text in (_HEADERS | (headers or {})).items()})
    if text:
        click.echo(text)


def _print_removal(removal: Removal, untagged: str = "Untagged", deleted: str = "Deleted") -> None:
    for name in removal.untagged:
        click.echo(f"{untagged}: {name}")
    for digest in removal.deleted:
        click.echo(f"{deleted}: {digest}")


def _id(image_id: str, whole: bool) -> str:
    return image_id if whole else image_id.removeprefix("sha256:")[:_SHORT_ID]


def _image_row(line: Listed, whole: bool) -> dict[str, object]:
    created = engine.created_at(line.image)
    size = decimal_size(line.image.size)
    return {
        "Containers": "N/A",
        "CreatedAt": _created_at(created),
        "CreatedSince": _since(created),
        "Digest": (line.name and line.name.digest) or NONE,
        "ID": _id(line.image.id, whole),
        "Repository": line.name.familiar_name if line.name else NONE,
        "SharedSize": "N/A",
        "Size": size,
        "Tag": (line.name and line.name.tag) or NONE,
        "UniqueSize": "N/A",
        "VirtualSize": size,
    }


def _history_row(entry: HistoryEntry, image_id: str, human: bool, whole: bool) -> dict[str, object]:
    created = engine.seconds_of(entry.created)
    made_by = entry.created_by.replace("\t", " ")
    if not whole and len(made_by) > _COLUMN_WIDTH:
        made_by = made_by[: _COLUMN_WIDTH - 1] + "…"
    return {
        "Comment": entry.comment,
        "CreatedAt": entry.created,
        "CreatedBy": made_by,
        "CreatedSince": _since(created) if human else entry.created,
        "ID": image_id,
        "Size": decimal_size(entry.size) if human else str(entry.size),
    }


def _created_at(created: float) -> str:
    return local_time(created) if created else "N/A"


def _since(created: float) -> str:
    return f"{duration(max(0.0, time.time() - created))} ago" if created else "N/A"


def _progress(quiet: bool) -> Progress:
    from minirun.storage.progress import Progress

    return Progress() if quiet or not sys.stderr.isatty() else _terminal_progress()


def _terminal_progress() -> Progress:
    """Progress bars on standard error, for loads that take long enough to make somebody wonder."""
    from minirun.storage.progress import Progress

    class TerminalProgress(Progress):
        def __init__(self) -> None:
            self._began = time.monotonic()
            self._bar: ProgressBar[int] | None = None
            self._name, self._size, self._done = "", 0, 0

        def layer(self, name: str, size: int) -> None:
            self.finish()
            self._name, self._size, self._done = name, size, 0

        def advance(self, size: int) -> None:
            self._done += size
            if self._bar:
                self._bar.update(size, self._done)
            elif time.monotonic() - self._began > _PROGRESS_AFTER:
                self._bar = _bar(self._name, self._size)
                self._bar.update(self._done, self._done)

        def finish(self) -> None:
            if self._bar:
                self._bar.render_finish()
                self._bar = None

    return TerminalProgress()


def _bar(name: str, size: int) -> ProgressBar[int]:
    """Return a bar for `size` bytes; a size of 0 is not known."""
    return click.progressbar(
        (_ for _ in range(0)),  # without a length of its own
        length=size or None,
        label=name,
        show_percent=False,
        item_show_func=lambda done: None if done is None else decimal_size(done),
        file=sys.stderr,
    )
