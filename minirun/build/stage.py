"""One stage, from its base to its last instruction.

Each instruction changes the config, or makes a layer, or both. What makes a layer is looked for in the cache first, by
a key that says all that the layer depends on: the key before it, the instruction, and of files that are copied the
content. So a key stands for all that came before it, and a stage is the chain of its keys.
"""

from __future__ import annotations

import hashlib
import time

from minirun.build import running
from minirun.build.config import Config, history_words, run_words
from minirun.build.copy import ownership
from minirun.build.copy.copies import Copies
from minirun.build.copy.destination import Destination, Ownership
from minirun.build.copy.tree import open_rootfs
from minirun.build.dockerfile.error import DockerfileError
from minirun.build.dockerfile.instructions import Add, Arg, Copy, Env, Run, Workdir
from minirun.build.dockerfile.parse import parse_trigger
from minirun.build.titles import has_many_parts, title
from minirun.build.variables.expansion import expanded, mounts_of
from minirun.build.variables.scope import Scope, first_scope
from minirun.engine.container.inspect import rfc3339
from minirun.errors import MinirunError
from minirun.model.image import Image, Layer
from minirun.model.record import Record
from minirun.storage import build_cache, images
from minirun.storage.archive.documents import image_config
from minirun.storage.build_cache import CachedStep
from minirun.storage.layers import unpack_layer
from minirun.storage.store import add_step, known_layers, reuse_layer
from minirun.storage.tar.writer import tar_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from minirun.build.copy.tree import Tree
    from minirun.build.dockerfile.instructions import Instruction
    from minirun.build.material import Material
    from minirun.build.request import Progress
    from minirun.build.stages import Stage
    from minirun.storage.tar.writer import Member

_LAYERED = (Run, Copy, Add, Workdir)
# No stage has more: a Dockerfile's length is limited. So every step has a number of its own.
_STEPS_MAX = 100_000
_COMMENT = "buildkit.dockerfile.v0"


class Built(Record):
    """A stage that is built, or an image that one begins with: config document, layers and the key of the last step.

    `scope` is that of a stage's end: a stage that begins with it takes over its ARGs.
    """

    document: dict[str, Any]
    layers: tuple[Layer, ...]
    key: str
    scope: Scope | None = None

    def as_image(self, config: Mapping[str, Any] | None = None) -> Image:
        """Return it as what a container is made of, with another part "config" if that is given."""
        document = self.document if config is None else {**self.document, "config": config}
        return Image(f"sha256:{self.key}", image_config(document), self.layers)


class StepError(MinirunError):
    """A step cannot be done, or its command has failed: `line` to `last_line` of the Dockerfile say it."""

    def __init__(self, error: MinirunError, line: int, last_line: int) -> None:
        super().__init__(error.message, error.hint, exit_code=1)
        self.line = line
        self.last_line = last_line


class StageBuilder:
    """Builds one stage; `base` is what it begins with, and what other stages have made is in `material`."""

    def __init__(self, material: Material, stage: Stage, base: Built, progress: Progress) -> None:
        self._material = material
        self._layout = material.layout
        self._stage = stage
        self._progress = progress
        self._config = Config(base.document)
        self._layers = list(base.layers)
        self._key = base.key
        self._scope = first_scope(self._config.environment)
        self._created = base.document.get("created") or rfc3339(0)
        self._known = known_layers(self._layout)
        self._use_cache = material.uses_cache(stage)
        self._number = stage.number * _STEPS_MAX
        self._base = base
        self._name = f"{stage.name} " if has_many_parts(material.plan) else ""
        # Nothing is to be done for a base that is a stage, or scratch.
        self._title = ""
        self._done = 1 if stage.base.image or stage.base.context else 0

    def build(self) -> Built:
        """Carry out all instructions. Raises MinirunError; a DockerfileError says on which line."""
        stage_line = self._stage.start.line
        triggers = [parse_trigger(text, stage_line) for text in self._config.begin_stage()]
        self._scope = self._base.scope or first_scope(self._config.environment)
        instructions = [*triggers, *self._stage.instructions]
        self._total = self._done + sum(isinstance(each, _LAYERED) for each in instructions)
        for instruction in instructions:
            try:
                self._carry_out(instruction)
            except DockerfileError as error:
                raise error.at(instruction.line) from None
            except MinirunError as error:
                raise StepError(error, instruction.line, instruction.last_line) from error
            except OSError as error:
                told = MinirunError(_reason(error), exit_code=1)
                raise StepError(told, instruction.line, instruction.last_line) from error
        return self._built()

    def _built(self) -> Built:
        config = self._config
        document = {
            **config.document,
            "created": self._created,
            "config": config.config,
            "history": config.history,
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in self._layers]},
        }
        return Built(document, tuple(self._layers), self._key, self._scope)

    # -- instructions --------------------------------------------------------------------------------------------------
    def _carry_out(self, instruction: Instruction) -> None:
        plan = self._material.plan
        self._title = title(instruction, self._scope.variables, plan.escape)
        if isinstance(instruction, Arg):
            self._scope = self._scope.after_arg(
                instruction, self._material.request.build_args, plan.global_args, plan.escape
            )
        else:
            instruction = expanded(instruction, self._scope.variables, plan.escape)
        if isinstance(instruction, Env):
            self._scope = self._scope.after_env(instruction)
        self._config.apply(instruction)
        words = history_words(instruction, self._config, self._scope.args)
        if isinstance(instruction, Run):
            words = self._run(instruction)
        elif isinstance(instruction, Copy | Add):
            self._copy(instruction, words)
        elif isinstance(instruction, Workdir) and self._config.working_dir != "/":
            self._make_working_dir(instruction, words)
        if words:
            self._note(words, empty=not (isinstance(instruction, _LAYERED) and words != "WORKDIR /"))

    def _note(self, words: str, *, empty: bool) -> None:
        entry = {"created": self._created, "created_by": words, "comment": _COMMENT}
        self._config.history.append(entry | ({"empty_layer": True} if empty else {}))

    def _run(self, instruction: Run) -> str:
        argv = self._config.command(instruction.script, instruction.argv)
        mounts = mounts_of(instruction, self._scope.variables, self._material.plan.escape)
        with running.RunStep(self._material, instruction, argv, mounts, self._scope.variables, self._config) as step:
            key = self._key_of("RUN", *step.definition())
            self._step(instruction.text, key, lambda directory: step.run(self._image(), directory))
        return run_words(argv, self._scope)

    def _copy(self, instruction: Copy | Add, words: str) -> None:
        with self._rootfs() as rootfs, self._material.files_of(instruction) as source:
            copies = Copies(instruction, source, rootfs, self._config.working_dir, self._material.fetch)
            key = self._key_of(words, *copies.definition())
            self._step(instruction.text, key, lambda directory: _layer_of(copies.members(), directory))

    def _make_working_dir(self, instruction: Workdir, words: str) -> None:
        def make(directory: str) -> Layer:
            with self._rootfs() as rootfs:
                owner = ownership.owner(self._config.user, rootfs) if self._config.user else (0, 0)
                destination = Destination(rootfs, Ownership(*owner))
                path = rootfs.real_path(self._config.working_dir)
                return _layer_of(destination.new_directories(path), directory)

        self._step(instruction.text, self._key_of(words, self._config.user), make)

    # -- steps that make a layer ---------------------------------------------------------------------------------------
    def _step(self, text: str, key: str, make: Callable[[str], Layer]) -> None:
        """Put a layer on the others: one that the cache has under this key, or what `make` unpacks into a directory."""
        self._done += 1
        self._number += 1
        place = f"{self._done:{len(str(self._total))}}/{self._total}"
        self._progress.begin(self._number, f"[{self._name}{place}] {self._title}")
        start = time.monotonic()
        found = self._cached(key) if self._use_cache else None
        if found:
            self._progress.cached(self._number)
        else:
            try:
                found = self._made(key, text, make)
            except (MinirunError, OSError) as error:
                self._progress.failed(self._number, _reason(error))
                raise
            self._progress.done(self._number, time.monotonic() - start)
        self._layers.append(found.layer)
        self._key = key
        self._created = rfc3339(found.created_at)
        if len({layer.diff_id for layer in self._layers}) > images.LAYERS_MAX:
            raise DockerfileError(
                f"the image would have more than {images.LAYERS_MAX} layers, which is the most that can be mounted",
                "Put several commands into one RUN.",
            )

    def _cached(self, key: str) -> CachedStep | None:
        found = build_cache.find(self._layout, key)
        if found and reuse_layer(
            self._layout, self._material.ingest, found.layer.diff_id, {found.layer.diff_id: found.layer}
        ):
            return found
        return None

    def _made(self, key: str, text: str, make: Callable[[str], Layer]) -> CachedStep:
        ingest = self._material.ingest
        directory = f"{ingest.path}/step-{self._number}"
        layer = make(directory)
        known = reuse_layer(self._layout, ingest, layer.diff_id, self._known)
        now = time.time()
        step = CachedStep(key, known or layer, text, now, now)
        add_step(self._layout, ingest, step, "" if known else directory)
        self._known[layer.diff_id] = known or layer
        return step

    def _key_of(self, *definition: object) -> str:
        return hashlib.sha256(repr((self._key, definition)).encode(errors="surrogateescape")).hexdigest()

    def _image(self) -> Image:
        return Built(self._config.document, tuple(self._layers), self._key).as_image(self._config.config)

    def _rootfs(self) -> Tree:
        return open_rootfs(self._material.layout, self._image(), self._material.ingest.path)


def _layer_of(members: Iterator[Member], directory: str) -> Layer:
    return unpack_layer(tar_of(members), directory)


def _reason(error: MinirunError | OSError) -> str:
    if isinstance(error, MinirunError):
        return error.message
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
