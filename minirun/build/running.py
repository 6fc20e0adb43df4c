"""RUN: a command in a container of the stage's files, and what it has changed as a layer."""

from __future__ import annotations

import os
from contextlib import ExitStack

from minirun.build import mounting
from minirun.build.variables.scope import proxy_environment
from minirun.engine.container import build_step
from minirun.engine.files.diff import mount_stubs
from minirun.errors import MinirunError
from minirun.kernel.hostfiles import write_new
from minirun.kernel.trace import step
from minirun.model.container import RunRequest, VolumeMount
from minirun.storage import images
from minirun.storage.layers import unpack_layer
from minirun.storage.merged import open_snapshot
from minirun.storage.tar.tree import members
from minirun.storage.tar.writer import tar_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from minirun.build.config import Config
    from minirun.build.dockerfile.instructions import Run
    from minirun.build.dockerfile.mounts import Mount
    from minirun.build.material import Material
    from minirun.model.image import Image, Layer

# BuildKit leaves these in the layer, if the image had no place to mount them on: so the next step finds them.
_KEPT = frozenset((b"dev", b"proc", b"sys"))
_NETWORKS = {"none": "none", "host": "host"}


class RunStep:
    """One RUN; a context manager that lets go of its mounts at the end."""

    def __init__(
        self,
        material: Material,
        instruction: Run,
        argv: Sequence[str],
        mounts: Sequence[Mount],
        variables: Mapping[str, str],
        config: Config,
    ) -> None:
        self._material = material
        self._instruction = instruction
        self._argv = tuple(argv)
        self._mounts = mounts
        self._variables = dict(variables)
        self._config = config
        self._stack = ExitStack()

    def __enter__(self) -> RunStep:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def definition(self) -> tuple[object, ...]:
        """Return all that its layer depends on, besides the files that it runs on."""
        config = self._config
        contents = mounting.contents(self._material, self._mounts)
        return (
            *(self._argv, self._instruction.heredocs, sorted(self._variables.items()), config.user, config.working_dir),
            *(self._network(), self._material.request.extra_hosts, self._mounts, contents),
        )

    def run(self, image: Image, directory: str) -> Layer:
        """Run the command, and unpack what it has changed into `directory`. Raises MinirunError (1)."""
        request = self._material.request
        prepared = mounting.prepare(self._material, self._mounts, self._config.working_dir, self._stack)
        argv, script = self._argv, self._script(f"{directory}-script")
        if script:
            argv = (script.target,)
            prepared = prepared.replace(mounts=(*prepared.mounts, script))
        environment = {**proxy_environment(request.build_args), **self._variables, **prepared.environment}
        run_request = RunRequest(
            image="build",
            command=argv,
            entrypoint=(),
            environment=tuple(f"{name}={value}" for name, value in environment.items()),
            user=self._config.user,
            working_dir=self._config.working_dir,
            network=self._network(),
            extra_hosts=request.extra_hosts,
            shm_size=request.shm_size,
            ulimits=request.ulimits,
            mounts=prepared.mounts,
            hostname="buildkitsandbox",
            log_driver="none",
        )

        def take(upper: int) -> Layer:
            return self._layer(image, upper, directory, prepared.places)

        with step(f"run {self._instruction.text}", "build", "A step of a build is a container like any other."):
            code, layer = build_step.run(self._material.layout, self._material.ingest, image, run_request, take)
        if layer is None:
            command = " ".join(self._argv)
            raise MinirunError(f'process "{command}" did not complete successfully: exit code: {code}', exit_code=1)
        return layer

    def _script(self, path: str) -> VolumeMount | None:
        """Return where a heredoc is in the container that names its own interpreter, after it was written to `path`."""
        instruction = self._instruction
        if not (instruction.is_lone_heredoc and instruction.script.startswith("#!")):
            return None
        write_new(path, instruction.script.encode(errors="surrogateescape"), 0o755)
        return VolumeMount("bind", f"/dev/pipes/{instruction.heredocs[0].name}", path, read_only=True)

    def _layer(self, image: Image, upper: int, directory: str, places: Sequence[bytes]) -> Layer:
        ingest = self._material.ingest
        lower = open_snapshot(images.read_only_snapshot(self._material.layout, image, "", ingest.path))
        try:
            without = mount_stubs(lower, upper, places) - _KEPT
        finally:
            os.close(lower)
        with step("make a layer of what the command has changed", "layers"):
            return unpack_layer(tar_of(members(upper, b"", layer=True, without=without)), directory)

    def _network(self) -> str:
        return _NETWORKS.get(self._instruction.network, self._material.request.network)
