"""`explain`: the chapters behind the steps that `--explain` shows."""

from __future__ import annotations

import click

from minirun.cli.command import Command


@click.command(cls=Command, short_help="Explain a topic of the steps that --explain shows")
@click.argument("topic", required=False)
def explain(topic: str | None) -> None:
    """Explain a TOPIC of the steps that --explain shows; without one, list them."""
    from minirun.explain.topics import CHAPTERS, chapter

    if topic is None:
        for name, about in CHAPTERS.items():
            click.echo(f"{name:<14}{about.title}")
        click.echo("\nRead one with 'minirun explain TOPIC'; see them at work with 'minirun --explain run ...'.")
        return
    about = chapter(topic)
    click.echo(f"{about.title}\n\n{about.text}\n\nRead on: {about.man}\nTry:     {about.attempt}")
