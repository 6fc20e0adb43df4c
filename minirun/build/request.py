"""What a build is asked for, checked for form, and what it tells of itself meanwhile."""

from __future__ import annotations

import os

from minirun.errors import MinirunError
from minirun.kernel.hostfiles import read_small
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.container import Ulimit
    from minirun.model.image import ImageRef
    from minirun.model.platform import Platform


class Secret(Record):
    """One `--secret`: the content of a file, or of an environment variable."""

    id: str
    path: str = ""
    env: str = ""

    def read(self) -> bytes:
        """Return the secret. Raises MinirunError (1)."""
        if self.env:
            return os.fsencode(os.environ.get(self.env, ""))
        try:
            return read_small(self.path)
        except OSError as error:
            raise MinirunError(f"secret {self.id}: {self.path}: {error.strerror}", exit_code=1) from error


class BuildRequest(Record):
    """All options of `build`.

    `dockerfile` is the file's text and `dockerfile_name` what errors call it. `context` is the directory of the build
    context, "" if there is none. `ignore` is the text of .dockerignore. `contexts` are those of `--build-context`: a
    directory, or "docker-image://NAME". `ssh` is agent id -> socket.
    """

    dockerfile: str
    dockerfile_name: str
    context: str
    ignore: str
    platform: Platform
    tags: tuple[ImageRef, ...] = ()
    build_args: dict[str, str] = {}
    labels: dict[str, str] = {}
    target: str = ""
    no_cache: bool = False
    no_cache_filter: tuple[str, ...] = ()
    network: str = "bridge"
    extra_hosts: tuple[str, ...] = ()
    pull: bool = False
    shm_size: int = 64 << 20
    ulimits: tuple[Ulimit, ...] = ()
    secrets: tuple[Secret, ...] = ()
    ssh: dict[str, str] = {}
    contexts: dict[str, str] = {}


class Progress:
    """Hears how a build proceeds; a subclass shows it. A step goes by a number of its own."""

    def begin(self, step: int, title: str) -> None:
        """A step is being done: "[2/3] RUN make"."""

    def output(self, step: int, data: bytes) -> None:
        """The step's command has written something, to standard output or standard error."""

    def cached(self, step: int) -> None:
        """What the step would do has been done before."""

    def done(self, step: int, seconds: float) -> None:
        """The step is done."""

    def failed(self, step: int, reason: str) -> None:
        """The step cannot be done, which ends the build."""
