"""What `inspect` shows: documents as JSON, or through a template."""

from __future__ import annotations

import json

from minirun.cli.errors import report
from minirun.cli.output.template import Template
from minirun.cli.output.template_functions import Map, NilMap
from minirun.cli.streams import say
from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

# Those objects of a document whose keys are data: labels, not fields.
_MAPS = frozenset(
    {
        "Labels",
        "Annotations",
        "Ports",
        "PortBindings",
        "ExposedPorts",
        "Networks",
        "Volumes",
        "Sysctls",
        "Options",
        "Tmpfs",
    }
)


def print_documents(names: Sequence[str], template: str, find: Callable[[str], dict[str, Any]]) -> int:
    """Print what `find` gives for each name, as one JSON list or by a template, then errors. Returns the exit code."""
    compiled = Template("{{json .}}" if template == "json" else template) if template else None
    documents, errors = [], []
    for name in names:
        try:
            documents.append(find(name))
        except MinirunError as error:
            errors.append(error)
    if compiled:
        for document in documents:
            say(compiled.render(_with_maps(document)))
    else:
        say(json_text(documents))
    for missing in errors:
        report(missing)
    return 1 if errors else 0


def json_text(documents: Any, indent: int | str = 4) -> str:
    """Return documents as JSON in which letters are letters, and what could steer a terminal is an escape."""
    text = json.dumps(documents, indent=indent, ensure_ascii=False)
    return "".join(c if c.isprintable() or c in "\n\t" else json.dumps(c)[1:-1] for c in text)


def _with_maps(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        kind = Map if key in _MAPS else dict
        return kind({name: _with_maps(inner, name) for name, inner in value.items()})
    if isinstance(value, list):
        return [_with_maps(inner) for inner in value]
    return NilMap() if value is None and key in _MAPS else value
