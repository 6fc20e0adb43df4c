"""`export`: all files that a container sees, as a tar."""

from __future__ import annotations

from minirun.cli.grammar import Verb, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call


def export(call: Call) -> None:
    """Write the files of a container as a tar: those of its image with all changes, without volumes.

    The container may run or not; 'minirun import' makes an image of the tar.
    """
    from minirun.cli.output.to_file import check_output, write_output
    from minirun.engine.container.records import find
    from minirun.engine.files.filesystem import own_tree
    from minirun.storage.tar.tree import members
    from minirun.storage.tar.writer import tar_of

    layout = call.swept_layout()
    path = call.text("output")
    check_output(path)
    with own_tree(layout, find(layout, call.arguments[0])) as root:
        write_output(path, tar_of(members(root, b"")))


VERBS = {
    "export": Verb(
        export,
        (text("-o/--output", "Write to a file, in place of standard output."),),
        "CONTAINER",
        summary="Write a container's files as a tar",
        examples=(("minirun export web | tar -t", "all files of a container"),),
    ),
}
