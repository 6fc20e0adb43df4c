"""`inspect`: all that is known, as JSON. `image inspect` and `container inspect` look for one kind only."""

from __future__ import annotations

from minirun.cli.grammar import Verb, switch, text
from minirun.errors import DamagedError, MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minirun.cli.call import Call
    from minirun.model.layout import Layout


def inspect(call: Call) -> int:
    """Print all that is known about containers or images, as JSON."""
    return _inspect(call, call.text("type"))


def inspect_containers(call: Call) -> int:
    """Print all that is known about containers or images, as JSON."""
    return _inspect(call, call.text("type", "container"))


def inspect_images(call: Call) -> int:
    """Print what `docker image inspect` does."""
    return _inspect(call, "image")


def _inspect(call: Call, kind: str) -> int:
    from minirun.cli.output.documents import print_documents

    layout = call.swept_layout()
    sizes = call.switch("size")
    return print_documents(call.arguments, call.text("format"), lambda name: _document(layout, name, kind, sizes=sizes))


def _document(layout: Layout, name: str, kind: str, *, sizes: bool) -> dict[str, Any]:
    from minirun.cli.output.ps import image_config, image_size
    from minirun.engine.container import inspect, records
    from minirun.engine.container.status import status as status_of
    from minirun.engine.disk_usage import written
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
            document = inspect.container_document(layout, record, status, image_config(layout, record))
            if sizes:
                own = written(layout, record)
                document |= {"SizeRw": own, "SizeRootFs": own + image_size(layout, record)}
            return document
    try:
        return images.document(layout, find_image(layout, name))
    except MinirunError as error:
        if kind or isinstance(error, DamagedError):
            raise
        raise MinirunError(f"No such object: {name}", exit_code=1) from error


_FORMAT = text("-f/--format", "A Go template, or json.")
_FLAGS = (
    _FORMAT,
    text("--type", "Look for this kind only.", choices=("container", "image")),
    switch("-s/--size", "Show how many bytes a container has written, too."),
)
VERBS = {
    "inspect": Verb(
        inspect,
        _FLAGS,
        "NAME...",
        examples=(("minirun inspect -f '{{.State.Pid}}' web", "one field"),),
    ),
    "container inspect": Verb(inspect_containers, _FLAGS, "NAME..."),
    "image inspect": Verb(inspect_images, (_FORMAT,), "IMAGE...", summary="Show all that is known of images, as JSON"),
}
