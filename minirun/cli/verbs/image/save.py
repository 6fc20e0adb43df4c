"""`save`: images as an archive."""

from __future__ import annotations

from minirun.cli.grammar import Verb, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call
    from minirun.model.image import ImageRef
    from minirun.model.layout import Layout
    from minirun.storage.archive.save import Saved


def save(call: Call) -> None:
    """Write images as an archive, which 'minirun load', 'docker load', Podman, skopeo and containerd read.

    A name without a tag means all tags of it. Layers that several images share are written once.
    """
    from minirun.cli.output.to_file import check_output, write_output
    from minirun.storage.archive.save import members
    from minirun.storage.ingest import collect_garbage
    from minirun.storage.tar.writer import tar_of

    layout = call.host_layout()
    collect_garbage(layout)
    path = call.text("output")
    check_output(path)
    wanted = _wanted(layout, call.arguments)
    write_output(path, tar_of(members(layout, wanted, docker=call.text("format", "docker") == "docker")))


def _wanted(layout: Layout, names: tuple[str, ...]) -> list[Saved]:
    """Return the images that are meant, each once, with the names under which they were asked for."""
    from minirun.storage.archive.save import Saved
    from minirun.storage.images import find, load_image, parsed_names

    known = parsed_names(layout)
    found: dict[str, list[ImageRef]] = {}
    for name in names:
        has_tag = ":" in name.rpartition("/")[2] or "@" in name
        tags = [] if has_tag else [pair for pair in known if pair[0].tag and _is_named(pair[0], name)]
        if tags:
            for ref, image_id in tags:
                found.setdefault(image_id, []).append(ref)
            continue
        image = find(layout, name)
        asked = [ref for ref, image_id in known if image_id == image.id and ref.tag and _is_named(ref, name)]
        found.setdefault(image.id, []).extend(asked)
    return [Saved(load_image(layout, image_id), tuple(dict.fromkeys(refs))) for image_id, refs in found.items()]


def _is_named(ref: ImageRef, name: str) -> bool:
    """Say whether a name in the store is what was typed, with or without the tag; an id is no name."""
    from minirun.errors import MinirunError
    from minirun.model.image import ImageRef as Ref

    try:
        asked = Ref.parse(name)
    except MinirunError:
        return False
    if ":" in name.rpartition("/")[2]:
        return ref in (asked, asked.replace(registry="localhost", repository=asked.familiar_name))
    return ref.name in (asked.name, f"localhost/{asked.familiar_name}")


VERBS = {
    "save": Verb(
        save,
        (
            text("-o/--output", "Write to a file, in place of standard output."),
            text("--format", "docker, which is an OCI layout, too, or oci alone.", choices=("docker", "oci")),
        ),
        "IMAGE...",
        summary="Write images as an archive",
        examples=(("minirun save -o app.tar app:1", "'minirun load -i app.tar' brings it back"),),
    )
}
