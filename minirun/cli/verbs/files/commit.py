"""`commit`."""

from __future__ import annotations

from minirun.cli.grammar import Verb, many, switch, text
from minirun.cli.streams import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call


def commit(call: Call) -> None:
    """Make an image of a container: what it has changed becomes a new layer. Prints the image's id.

    Volumes are not a part of it. A container that runs is paused while its files are read.
    """
    from minirun.build.changes import apply_changes
    from minirun.engine.container.records import find
    from minirun.engine.files.commit import commit as commit_container

    layout = call.swept_layout()
    container, *name = call.arguments
    image = commit_container(
        layout,
        find(layout, container),
        "".join(name),
        author=call.text("author"),
        message=call.text("message"),
        change=lambda config: apply_changes(config, call.many("change")),
        pause=call.switch("pause", default=True),
    )
    say(image.id)


VERBS = {
    "commit": Verb(
        commit,
        (
            text("-a/--author", "Who made it: 'Ann <ann@example.org>'."),
            many("-c/--change", "A Dockerfile instruction."),
            text("-m/--message", "Comment of the image."),
            switch("-p/--pause", "Pause the container meanwhile (default true).", default=True),
        ),
        "CONTAINER [REPOSITORY[:TAG]]",
        summary="Make an image of a container's changes",
        examples=(('minirun commit -c \'CMD ["httpd", "-f"]\' web site:1', "an image that starts a server"),),
    ),
}
