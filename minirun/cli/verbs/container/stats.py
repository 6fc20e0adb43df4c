"""`stats`: what containers use."""

from __future__ import annotations

import os
import time

from minirun.cli.grammar import Verb, switch, text
from minirun.cli.output.rows import rows_text
from minirun.cli.output.words import binary_size, decimal_size
from minirun.cli.streams import say
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call
    from minirun.engine.container.status import Status
    from minirun.engine.container.usage import Statistics
    from minirun.model.container import ContainerRecord

STATS_TABLE = (
    "table {{.Container}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}"
)
STATS_HEADERS: dict[str, object] = {
    "Container": "CONTAINER ID",
    "ID": "CONTAINER ID",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
}


class Sample(Record):
    """Statistics and when they were taken (CLOCK_MONOTONIC); None for a container that does not run."""

    taken: float
    statistics: Statistics | None


def sample(record: ContainerRecord, status: Status) -> Sample:
    """Take the statistics of a container now."""
    from minirun.engine.container.usage import statistics

    running = status.is_running
    return Sample(time.monotonic(), statistics(record, status.pid) if running else None)


def usage_row(record: ContainerRecord, before: Sample | None, now: Sample, *, truncate: bool) -> dict[str, object]:
    """Return the fields that `stats --format` may use; processor time is what was used between two samples."""
    container = record.id[:12] if truncate else record.id
    used, first = now.statistics, before.statistics if before else None
    row: dict[str, object] = {"Container": container, "ID": container, "Name": record.name}
    if used is None:
        none = "--"
        return row | {
            "CPUPerc": none,
            "MemUsage": f"{none} / {none}",
            "MemPerc": none,
            "NetIO": none,
            "BlockIO": none,
            "PIDs": none,
        }
    elapsed = now.taken - before.taken if before else 0.0
    load = (used.cpu_usec - first.cpu_usec) / 1e4 / elapsed if first and elapsed > 0 else 0.0
    memory, limit = used.memory, used.memory_limit
    blocks = (used.blocks_read, used.blocks_written)
    return row | {
        "CPUPerc": f"{load:.2f}%",
        "MemUsage": f"{'--' if memory is None else binary_size(memory)} / {binary_size(limit)}",
        "MemPerc": "--" if memory is None else f"{100 * memory / limit:.2f}%",
        "NetIO": f"{decimal_size(used.received)} / {decimal_size(used.sent)}",
        "BlockIO": " / ".join("--" if size is None else decimal_size(size) for size in blocks),
        "PIDs": str(used.processes),
    }


def stats(call: Call) -> None:
    """Show what containers use, again and again until Ctrl-C."""
    from minirun.engine.container import records
    from minirun.engine.container.status import status as status_of

    layout = call.swept_layout()
    names, once, truncate = call.arguments, call.switch("no-stream"), not call.switch("no-trunc")
    on_terminal = os.isatty(1)
    before: dict[str, Sample] = {}
    while True:
        found = [records.find(layout, name) for name in names] if names else records.all_records(layout)
        now = {record.id: status_of(layout, record) for record in found}
        shown = [r for r in found if names or call.switch("all") or now[r.id].is_running]
        samples = {record.id: sample(record, now[record.id]) for record in shown}
        if before or not samples:
            rows = [usage_row(r, before.get(r.id), samples[r.id], truncate=truncate) for r in shown]
            text = rows_text(call.text("format") or STATS_TABLE, rows, STATS_HEADERS)
            say(f"\x1b[2J\x1b[H{text}" if on_terminal and not once else text)
            if once:
                return
        before = samples
        time.sleep(1)


VERBS = {
    "stats": Verb(
        stats,
        (
            switch("-a/--all", "Show those that do not run, too."),
            switch("--no-stream", "Show the first result and end."),
            switch("--no-trunc", "Do not cut ids."),
            text("--format", "A Go template, 'table TEMPLATE', or json."),
        ),
        "[CONTAINER...]",
    )
}
