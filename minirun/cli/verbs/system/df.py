"""`system df`: what the store takes of the disk."""

from __future__ import annotations

from minirun.cli.grammar import Verb, switch, text
from minirun.cli.output.rows import rows_text
from minirun.cli.output.words import decimal_size
from minirun.cli.streams import say
from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call
    from minirun.engine.disk_usage import CacheUsage, ContainerUsage, DiskUsage, ImageUsage, Total
    from minirun.model.layout import Layout

_TABLE = "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}"
_HEADERS: dict[str, object] = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}


def df(call: Call) -> None:
    """Show what images, containers and volumes take of the disk, and what of it `system prune` could give back."""
    from minirun.engine import disk_usage

    template = call.text("format")
    if template and call.switch("verbose"):
        raise MinirunError("--format and --verbose do not go together", "Leave one of them out.")
    layout = call.swept_layout()
    usage = disk_usage.measure(layout)
    if call.switch("verbose"):
        say(_details(layout, usage))
        return
    rows = [_row(total) for total in usage.totals()]
    say(rows_text(_TABLE if template in ("", "table") else template, rows, _HEADERS))


def _row(total: Total) -> dict[str, object]:
    share = f" ({total.reclaimable * 100 // total.size}%)" if total.size else ""
    return {
        "Type": total.kind,
        "TotalCount": str(total.count),
        "Active": str(total.active),
        "Size": decimal_size(total.size, 4),
        "Reclaimable": f"{decimal_size(total.reclaimable, 4)}{share}",
    }


def _details(layout: Layout, usage: DiskUsage) -> str:
    from minirun.cli.output.words import table

    images = table(
        ("REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS"),
        [_image_line(layout, image) for image in usage.images],
    )
    containers = table(
        ("CONTAINER ID", "IMAGE", "COMMAND", "LOCAL VOLUMES", "SIZE", "CREATED", "STATUS", "NAMES"),
        [_container_line(layout, container) for container in usage.containers],
    )
    volumes = table(
        ("VOLUME NAME", "LINKS", "SIZE"),
        [(volume.name, str(volume.containers), decimal_size(volume.size, 4)) for volume in usage.volumes],
    )
    cache = table(
        ("CACHE ID", "CREATED", "LAST USED", "SIZE", "SHARED", "STEP"),
        [_cache_line(usage) for usage in usage.build_cache],
    )
    return (
        f"Images space usage:\n\n{images}\n\nContainers space usage:\n\n{containers}\n\n"
        f"Local Volumes space usage:\n\n{volumes}\n\nBuild cache usage:\n\n{cache}"
    )


def _image_line(layout: Layout, usage: ImageUsage) -> tuple[str, ...]:
    from minirun.cli.output.words import since
    from minirun.engine.image.images import NONE, created_at
    from minirun.storage.images import names_of

    name = next((ref for ref in names_of(layout, usage.image.id) if ref.tag), None)
    return (
        name.familiar_name if name else NONE,
        name.tag if name else NONE,
        usage.image.id.removeprefix("sha256:")[:12],
        since(created_at(usage.image)),
        *(decimal_size(size, 4) for size in (usage.image.size, usage.shared, usage.unique)),
        str(usage.containers),
    )


def _container_line(layout: Layout, usage: ContainerUsage) -> tuple[str, ...]:
    from minirun.cli.output import ps

    row = ps.row(layout, usage.record, usage.status, truncate=True)
    return (
        *(str(row[field]) for field in ("ID", "Image", "Command", "LocalVolumes")),
        decimal_size(usage.size),
        *(str(row[field]) for field in ("RunningFor", "Status", "Names")),
    )


def _cache_line(usage: CacheUsage) -> tuple[str, ...]:
    from minirun.cli.output.words import since

    shared = "true" if usage.shared else "false"
    size = decimal_size(usage.size, 4)
    return (usage.key[:12], since(usage.created_at), since(usage.used_at), size, shared, usage.words[:60])


VERBS = {
    "system df": Verb(
        df,
        (text("--format", "A Go template, 'table TEMPLATE', or json."), switch("-v/--verbose", "Each of them.")),
        summary="Show what the store takes of the disk",
    )
}
