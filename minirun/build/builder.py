"""`build`: a Dockerfile and a context become an image.

parse -> plan: stages that the target needs -> base images -> a process for each stage -> config and names
"""

from __future__ import annotations

import hashlib
import json
import time

from minirun.build import exports
from minirun.build.dockerfile.parse import parse
from minirun.build.material import Material
from minirun.build.stage import Built
from minirun.build.stages import SCRATCH, make_plan, sources_of, target_name
from minirun.build.variables.scope import build_platform, platform_variables, unused_build_args
from minirun.build.workers import build_stages
from minirun.engine.container.inspect import rfc3339
from minirun.errors import MinirunError, warn
from minirun.model.image import Layer
from minirun.storage import images
from minirun.storage.ingest import Ingest, collect_garbage
from minirun.storage.store import add_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minirun.build.request import BuildRequest, Progress
    from minirun.build.stages import Origin, Plan
    from minirun.model.image import Image
    from minirun.model.layout import Layout
    from minirun.registry.progress import PullProgress


def build(layout: Layout, request: BuildRequest, progress: Progress, pulls: PullProgress) -> Image:
    """Build an image and give it its names. Raises MinirunError (1), and then there is no new image."""
    with Ingest(layout) as ingest:
        return _export(layout, ingest, request, build_target(layout, ingest, request, progress, pulls))


def build_files(layout: Layout, request: BuildRequest, progress: Progress, pulls: PullProgress, directory: str) -> None:
    """Build the target, and put its files into a directory, in place of an image. Raises MinirunError (1)."""
    with Ingest(layout) as ingest:
        built = build_target(layout, ingest, request, progress, pulls)
        exports.into_directory(layout, ingest, built, directory)


def build_tar(layout: Layout, request: BuildRequest, progress: Progress, pulls: PullProgress) -> Iterator[bytes]:
    """Build the target, and give its files as a tar, in place of an image. Raises MinirunError (1)."""
    with Ingest(layout) as ingest:
        yield from exports.as_tar(layout, ingest, build_target(layout, ingest, request, progress, pulls))


def build_target(
    layout: Layout, ingest: Ingest, request: BuildRequest, progress: Progress, pulls: PullProgress
) -> Built:
    """Build the target stage; `ingest` keeps its layers in the store. Raises MinirunError (1)."""
    collect_garbage(layout)
    dockerfile = parse(request.dockerfile)
    predefined = platform_variables(request.platform, build_platform(), target_name(dockerfile, request.target))
    plan = make_plan(dockerfile, request.build_args, predefined, request.target, frozenset(request.contexts))
    unused = unused_build_args(request.build_args, plan.all_args())
    if unused:
        warn(f"One or more build-args [{' '.join(unused)}] were not consumed")
    material = Material(layout, request, plan)
    for origin, platform in _origins(plan):
        name = material.image_name(origin)
        if name is not None and name not in material.images:
            material.images[name] = _base(layout, ingest, request, name, platform, pulls)
    build_stages(material, progress, ingest)
    return material.stages[plan.target]


def _origins(plan: Plan) -> list[tuple[Origin, str]]:
    """Return all that the stages begin with and copy from, besides each other, with the platform that is wanted."""
    found = []
    for number in plan.order:
        stage = plan.stages[number]
        found.append((stage.base, stage.platform))
        found += [(plan.origin_of(name), "") for name, _ in sources_of([*stage.triggers, *stage.instructions])]
    return found


def _base(
    layout: Layout, ingest: Ingest, request: BuildRequest, name: str, platform: str, pulls: PullProgress
) -> Built:
    """Return an image of the store as something to build on, pulled if it is missing. Raises MinirunError (1)."""
    if not name or name == SCRATCH:
        document = {
            "architecture": request.platform.architecture,
            "os": request.platform.os,
            "config": {"WorkingDir": "/"},
        }
        return Built(document, (), "scratch")
    try:
        image = _found(layout, name, platform, pulls, pull=request.pull)
    except MinirunError as error:
        raise MinirunError(f"{name}: {error.message}", error.hint, exit_code=1) from error
    for layer in image.layers:
        ingest.pin_layer(layer.diff_id)
    return Built(images.read_config(layout, image), image.layers, _key_of(image.layers))


def _found(layout: Layout, name: str, platform: str, pulls: PullProgress, *, pull: bool) -> Image:
    """Return an image of the store; it is pulled if it is missing, or in any case if `pull`. Raises MinirunError."""
    try:
        if not pull:
            return images.find(layout, name)
    except MinirunError as error:
        if not error.message.startswith("No such image"):
            raise
    from minirun.engine.image import pulling  # the registry's client takes 100 ms to import

    here = "" if pull else pulling.name_here(layout, name, platform)
    try:
        return images.find(layout, here or str(pulling.pull(layout, name, platform, pulls).name))
    finally:
        pulls.finish()


def _key_of(layers: tuple[Layer, ...]) -> str:
    """Return what steps on an image are remembered under: its layers, whatever it is called."""
    return hashlib.sha256("\n".join(layer.diff_id for layer in layers).encode()).hexdigest()


def _export(layout: Layout, ingest: Ingest, request: BuildRequest, built: Built) -> Image:
    """Put the target into the store as an image."""
    document = dict(built.document)
    if request.labels:
        config = dict(document.get("config") or {})
        document["config"] = config | {"Labels": (config.get("Labels") or {}) | request.labels}
    if not built.layers and document.get("created") == rfc3339(0):
        document["created"] = rfc3339(time.time())
    data = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
    return add_image(layout, ingest, data, list(built.layers), list(request.tags))
