"""`save`: images out of the store, into an archive."""

from __future__ import annotations

from minirun.cli.grammar import Verb, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call


def save(call: Call) -> None:
    """Write images as an archive that minirun, Docker, Podman, skopeo and containerd load.

    A name without a tag means all tags of that repository. Layers that images share are written once; the same images
    give the same bytes.
    """
    from minirun.cli.output.to_file import check_output, write_output
    from minirun.engine.image import save as engine

    path = call.text("output")
    check_output(path)
    write_output(path, engine.save(call.host_layout(), call.arguments, call.text("format")))


VERBS = {
    "save": Verb(
        save,
        (
            text("-o/--output", "Write to a file, in place of standard output."),
            text("--format", "Form of the archive: docker or oci.", "docker", ("docker", "oci")),
        ),
        "IMAGE...",
        summary="Write images as an archive",
        examples=(("minirun save -o class.tar nginx busybox", "two images for a USB stick"),),
    )
}
