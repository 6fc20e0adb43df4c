"""`images` and `history`: which images there are, and how each came to be."""

from __future__ import annotations

from minirun.cli.grammar import Verb, many, switch, text
from minirun.cli.output.rows import rows_text
from minirun.cli.output.words import decimal_size, local_time, since
from minirun.cli.streams import say
from minirun.engine.image import images as engine
from minirun.engine.image.images import NONE, HistoryEntry, Listed
from minirun.engine.prune_filters import seconds_of
from minirun.storage.images import find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call

_SHORT_ID = 12
_COLUMN_WIDTH = 45
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


def images(call: Call) -> None:
    """List the images in the store, the newest first."""
    layout = call.swept_layout()
    whole = call.switch("no-trunc")
    template = call.text("format")
    digests = call.switch("digests") or ".Digest" in template
    lines = engine.list_images(layout, "".join(call.arguments), call.many("filter"), digests=digests)
    if call.switch("quiet") and not template:
        for line in lines:
            print(_id(line.image.id, whole))
        return
    digest_column = "{{.Digest}}\t" if call.switch("digests") else ""
    default = (
        f"table {{{{.Repository}}}}\t{{{{.Tag}}}}\t{digest_column}{{{{.ID}}}}\t{{{{.CreatedSince}}}}\t{{{{.Size}}}}"
    )
    if template == "table":
        template = ""
    _print(template or default, [_image_row(line, whole) for line in lines])


def history(call: Call) -> None:
    """Show the instructions that made an image, the last one first, and what each added."""
    layout = call.swept_layout()
    image = find(layout, call.arguments[0])
    human = call.switch("human", default=True) and not call.switch("no-human")
    whole = call.switch("no-trunc")
    rows = [
        _history_row(entry, _id(image.id, whole) if number == 0 else "<missing>", human, whole)
        for number, entry in enumerate(engine.history(layout, image))
    ]
    template = call.text("format") or ("{{.ID}}" if call.switch("quiet") else "")
    created = "{{.CreatedSince}}" if human else "{{.CreatedAt}}"
    default = f"table {{{{.ID}}}}\t{created}\t{{{{.CreatedBy}}}}\t{{{{.Size}}}}\t{{{{.Comment}}}}"
    _print(template or default, rows, {"ID": "IMAGE"})


def _print(template: str, rows: list[dict[str, object]], headers: dict[str, object] | None = None) -> None:
    text = rows_text(template, rows, {name: str(text) for name, text in (_HEADERS | (headers or {})).items()})
    if text:
        say(text)


def _id(image_id: str, whole: bool) -> str:
    return image_id if whole else image_id.removeprefix("sha256:")[:_SHORT_ID]


def _image_row(line: Listed, whole: bool) -> dict[str, object]:
    created = engine.created_at(line.image)
    size = decimal_size(line.image.size)
    return {
        "Containers": "N/A",
        "CreatedAt": _created_at(created),
        "CreatedSince": since(created),
        "Digest": line.digest or NONE,
        "ID": _id(line.image.id, whole),
        "Repository": line.name.familiar_name if line.name else NONE,
        "SharedSize": "N/A",
        "Size": size,
        "Tag": (line.name and line.name.tag) or NONE,
        "UniqueSize": "N/A",
        "VirtualSize": size,
    }


def _history_row(entry: HistoryEntry, image_id: str, human: bool, whole: bool) -> dict[str, object]:
    created = seconds_of(entry.created)
    made_by = entry.created_by.replace("\t", " ")
    if not whole and len(made_by) > _COLUMN_WIDTH:
        made_by = made_by[: _COLUMN_WIDTH - 1] + "…"
    return {
        "Comment": entry.comment,
        "CreatedAt": entry.created,
        "CreatedBy": made_by,
        "CreatedSince": since(created) if human else entry.created,
        "ID": image_id,
        "Size": decimal_size(entry.size) if human else str(entry.size),
    }


def _created_at(created: float) -> str:
    return local_time(created) if created else "N/A"


_FORMAT = text("--format", "A Go template, 'table TEMPLATE', or 'json'.")
_QUIET = switch("-q/--quiet", "Show ids only.")
VERBS = {
    "images": Verb(
        images,
        (
            switch("-a/--all", "All images (there are no hidden ones)."),
            switch("--digests", "Show digests."),
            many("-f/--filter", "reference, dangling, label, ..."),
            _FORMAT,
            switch("--no-trunc", "Show whole ids."),
            _QUIET,
        ),
        "[REPOSITORY[:TAG]]",
        summary="List images",
    ),
    "history": Verb(
        history,
        (
            _FORMAT,
            switch("-H/--human", "Sizes and times as people read them (default true).", default=True),
            switch("--no-human"),
            switch("--no-trunc", "Cut nothing."),
            _QUIET,
        ),
        "IMAGE",
        summary="Show how an image came to be",
    ),
}
