"""`logs`: what a container has written, with standard output and standard error apart."""

from __future__ import annotations

import time
from contextlib import ExitStack

import click

from minirun.cli.command import Command
from minirun.cli.context import swept_layout
from minirun.errors import MinirunError


@click.command(cls=Command)
@click.option("-f", "--follow", is_flag=True, help="Show what comes, until the container ends.")
@click.option("-n", "--tail", default="all", metavar="COUNT", help="Lines to show from the end (default all).")
@click.option("--since", metavar="TIME", help="From then on: 2024-01-02T15:04:05Z, or 10m for 'ten minutes ago'.")
@click.option("--until", metavar="TIME", help="Until then.")
@click.option("-t", "--timestamps", is_flag=True, help="Show when each line was written.")
@click.argument("container")
def logs(container: str, follow: bool, tail: str, since: str | None, until: str | None, timestamps: bool) -> None:
    """Print what CONTAINER has written so far."""
    from minirun.engine.container import monitor_client, records
    from minirun.engine.logs import parse_moment, read_logs

    layout = swept_layout()
    now = time.time_ns()
    since_ns = parse_moment(since, now) if since else None
    until_ns = parse_moment(until, now) if until else None
    record = records.find(layout, container)
    if record.request.log_driver == "none":
        raise MinirunError("configured logging driver does not support reading", "its --log-driver is none")
    with ExitStack() as connected:
        # Before reading: what is written from now on, the monitor tells.
        monitor = monitor_client.connect(layout, record.id) if follow else None
        if monitor is not None:
            connected.enter_context(monitor)
            monitor_client.subscribe(monitor, log=True)
        read_logs(
            f"{layout.container(record.id)}/container.log",
            tail=int(tail) if tail.isdecimal() else None,  # as Docker does: all, for what is no number
            since_ns=since_ns,
            until_ns=until_ns,
            timestamps=timestamps,
            follow=monitor,
        )
