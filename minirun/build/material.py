"""What all stages of a build share: what was asked for, the plan, the files to copy from, and what is built already."""

from __future__ import annotations

import os
from contextlib import contextmanager

from minirun.build.copy.ignore import IgnoreRules, read_patterns
from minirun.build.copy.sources import Source
from minirun.build.copy.tree import Tree, open_rootfs
from minirun.build.dockerfile.error import DockerfileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minirun.build.dockerfile.instructions import Add, Copy
    from minirun.build.request import BuildRequest
    from minirun.build.stage import Built
    from minirun.build.stages import Origin, Plan, Stage
    from minirun.model.layout import Layout
    from minirun.storage.ingest import Ingest

# How --build-context names an image.
_IMAGE = "docker-image://"


class Material:
    """`stages` are those that are built, by number, and `images` what other names stand for, by name."""

    def __init__(self, layout: Layout, request: BuildRequest, plan: Plan) -> None:
        self.layout = layout
        self.request = request
        self.plan = plan
        self.stages: dict[int, Built] = {}
        self.images: dict[str, Built] = {}
        self.ingest: Ingest
        self.has_own_mounts = False
        patterns = read_patterns(request.ignore)
        self._ignored = IgnoreRules(patterns) if patterns else None

    def uses_cache(self, stage: Stage) -> bool:
        """Say whether a stage may be taken from the cache, as far as --no-cache and --no-cache-filter allow."""
        request = self.request
        return not request.no_cache and not {stage.name, stage.start.name}.intersection(request.no_cache_filter)

    @contextmanager
    def files_of(self, instruction: Copy | Add) -> Iterator[Source]:
        """Give what an instruction copies from. Raises DockerfileError."""
        name = getattr(instruction, "from_", "")
        with self.files_named(name) as source:
            yield source

    @contextmanager
    def files_named(self, name: str) -> Iterator[Source]:
        """Give the files of a stage, an image or a context; "" is the build context. Raises DockerfileError."""
        origin = self.plan.origin_of(name) if name else None
        directory = self.directory_of(origin)
        if origin is None or directory:
            if not directory:
                raise DockerfileError(
                    "there is no build context to copy from", "Name a directory instead of '-': 'minirun build .'."
                )
            with Tree(os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as tree:
                ignored = self._ignored if origin is None else None
                yield Source(tree, ignored, is_context=True)
            return
        built = self.built(origin)
        with open_rootfs(self.layout, built.as_image(), self.ingest.path) as tree:
            yield Source(tree)

    def built(self, origin: Origin) -> Built:
        """Return what a stage or an image is made of."""
        name = self.image_name(origin)
        if name is None:
            assert origin.stage is not None, "a directory is not built"
            return self.stages[origin.stage]
        return self.images[name]

    def image_name(self, origin: Origin) -> str | None:
        """Return the name of the image that is meant, "" for scratch; None for a stage or a directory."""
        if origin.stage is not None or self.directory_of(origin):
            return None
        return self.request.contexts.get(origin.context, "").removeprefix(_IMAGE) or origin.image

    def directory_of(self, origin: Origin | None) -> str:
        """Return the directory that a context is, "" if it is none, or not a directory."""
        if origin is None:
            return self.request.context
        context = self.request.contexts.get(origin.context, "")
        return "" if context.startswith(_IMAGE) else context

    def fetch(self, url: str) -> tuple[int, str, int]:
        """Download what ADD names; see `downloads.fetch`."""
        from minirun.build.copy import downloads

        return downloads.fetch(url, self.ingest.path)
