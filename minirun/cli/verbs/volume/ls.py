"""`volume ls`: which volumes there are."""

from __future__ import annotations

from minirun.cli.grammar import FlagError, Verb, many, switch, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call
    from minirun.model.layout import Layout
    from minirun.model.volume import Volume

_TABLE = "table {{.Driver}}\t{{.Name}}"
_HEADERS: dict[str, object] = {
    "Name": "VOLUME NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "Mountpoint": "MOUNTPOINT",
    "Labels": "LABELS",
    "Links": "LINKS",
    "Size": "SIZE",
    "Group": "GROUP",
    "Availability": "AVAILABILITY",
    "Status": "STATUS",
    "Label": lambda name: name.rpartition(".")[2].replace("-", " ").replace("_", " "),
}


def ls(call: Call) -> None:
    """List volumes."""
    from minirun.cli.output.rows import rows_text
    from minirun.cli.streams import say
    from minirun.engine.volume import listing

    for word in call.many("filter"):
        if "=" not in word:
            raise FlagError(f"invalid filter '{word}'", "Write NAME=VALUE.")
    layout = call.swept_layout()
    template = call.text("format")
    if template in ("", "table"):
        template = "{{.Name}}" if call.switch("quiet") else _TABLE
    shown = rows_text(
        template, [_row(layout, volume) for volume in listing.listed(layout, call.many("filter"))], _HEADERS
    )
    if shown:
        say(shown)


def _row(layout: Layout, volume: Volume) -> dict[str, object]:
    from minirun.storage.volumes.records import data_directory

    labels = volume.labels
    return {
        "Availability": "N/A",
        "Driver": "local",
        "Group": "N/A",
        "Label": lambda name: labels.get(name, ""),
        "Labels": ",".join(f"{name}={labels[name]}" for name in sorted(labels)),
        "Links": "N/A",
        "Mountpoint": data_directory(layout, volume.name),
        "Name": volume.name,
        "Scope": "local",
        "Size": "N/A",
        "Status": "N/A",
    }


VERBS = {
    "ls": Verb(
        ls,
        (
            many("-f/--filter", "Only those: dangling, driver, label, name."),
            text("--format", "A Go template, 'table TEMPLATE', or json."),
            switch("-q/--quiet", "Show names only."),
        ),
        summary="List volumes",
        examples=(("minirun volume ls -f dangling=true", "the volumes that no container has"),),
    )
}
