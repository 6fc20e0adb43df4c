"""`network ls` and `network inspect`."""

from __future__ import annotations

from minirun.cli.grammar import Verb, many, switch, text
from minirun.cli.output.rows import rows_text
from minirun.cli.streams import say
from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minirun.cli.call import Call
    from minirun.model.layout import Layout
    from minirun.model.network import NetworkRecord

_SHORT_ID = 12
_HEADERS: dict[str, object] = {
    "CreatedAt": "CREATED AT",
    "Driver": "DRIVER",
    "ID": "NETWORK ID",
    "IPv4": "IPV4",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "Labels": "LABELS",
    "Name": "NAME",
    "Scope": "SCOPE",
}
_TABLE = "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}"


def ls(call: Call) -> None:
    """List the networks."""
    from minirun.engine.network import document

    layout = call.swept_layout()
    tests = [_test(layout, text) for text in call.many("filter")]
    found = [record for record in document.all_networks(layout) if all(test(record) for test in tests)]
    rows = [_row(record, whole=call.switch("no-trunc")) for record in found]
    template = call.text("format")
    if call.switch("quiet") and not template:
        template = "{{.ID}}"
    if template in ("", "table"):
        template = _TABLE
    text = rows_text(template, rows, _HEADERS)
    if text:
        say(text)


def inspect(call: Call) -> int:
    """Print all that is known about networks, as JSON."""
    from minirun.cli.output.documents import print_documents
    from minirun.engine.network import document, identity

    layout = call.swept_layout()
    return print_documents(
        call.arguments,
        call.text("format"),
        lambda name: document.network_document(layout, identity.find(layout, name)),
    )


def _row(record: NetworkRecord, *, whole: bool) -> dict[str, object]:
    from minirun.engine.container.inspect import rfc3339
    from minirun.engine.network import document

    day, _, time = rfc3339(record.created_at).removesuffix("Z").partition("T")
    labels = record.labels
    return {
        "CreatedAt": f"{day} {time} +0000 UTC",
        "Driver": document.driver_of(record),
        "ID": record.id if whole else record.id[:_SHORT_ID],
        "IPv4": "true",
        "IPv6": "false",
        "Internal": str(record.network.internal).lower(),
        "Labels": ",".join(f"{name}={labels[name]}" for name in sorted(labels)),
        "Name": record.network.name,
        "Scope": "local",
        "Label": lambda name: labels.get(name, ""),
    }


def _test(layout: Layout, text: str) -> Callable[[NetworkRecord], bool]:
    """Return what says whether a network passes one --filter. Raises MinirunError."""
    from minirun.engine.network import document
    from minirun.engine.prune_filters import has_label
    from minirun.network import drivers

    key, equals, value = text.partition("=")
    if not equals:
        raise MinirunError(f"invalid filter '{text}'", "Write KEY=VALUE.", exit_code=1)

    def is_users(record: NetworkRecord) -> bool:
        return record.network.name not in drivers.PREDEFINED

    def is_dangling(record: NetworkRecord) -> bool:
        from minirun.engine.container import records

        names = (record.network.name, record.id)
        return is_users(record) and not any(each.request.network in names for each in records.all_records(layout))

    tests: dict[str, Callable[[NetworkRecord], bool]] = {
        "driver": lambda record: document.driver_of(record) == value,
        "id": lambda record: record.id.startswith(value),
        "label": lambda record: has_label(record.labels, value),
        "name": lambda record: value in record.network.name,
        "scope": lambda _record: value == "local",
        "type": lambda record: is_users(record) == (value == "custom"),
        "dangling": lambda record: is_dangling(record) == (value in ("1", "true")),
    }
    if key not in tests:
        raise MinirunError(f"Invalid filter '{key}'", f"Filters are {', '.join(tests)}.", exit_code=1)
    if key == "type" and value not in ("custom", "builtin"):
        raise MinirunError(f"Invalid filter: 'type'='{value}'", "It is custom or builtin.", exit_code=1)
    return tests[key]


_FORMAT = text("-f/--format", "A Go template, or json.")
VERBS = {
    "ls": Verb(
        ls,
        (
            many("-f/--filter", "driver, id, label, name, scope, type, dangling."),
            text("--format", "A Go template, 'table TEMPLATE', or 'json'."),
            switch("--no-trunc", "Show whole ids."),
            switch("-q/--quiet", "Show ids only."),
        ),
        summary="List networks",
    ),
    "inspect": Verb(
        inspect,
        (_FORMAT, switch("-v/--verbose")),
        "NETWORK...",
        summary="Show all that is known of networks, as JSON",
        examples=(("minirun network inspect -f '{{.Containers}}' back", "who is in it"),),
    ),
}
