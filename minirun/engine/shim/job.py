"""What a shim is told, and what it answers."""

from __future__ import annotations

from minirun.model.container import ContainerRecord, ExecSpec, LaunchSpec
from minirun.model.record import Record

# The shim's answer: the process stands and waits for its start. Its pid is with it.
CREATED = "created"


class Job(Record):
    """The input of a shim: a container to bring up (`container`), or a further process in one (`process`).

    `root` and `state` are those of the `Layout`. The numbers are descriptors that the shim inherits: `channel` leads to
    the process that wants the container, `control` is the monitor's end of the control socket, `trace` takes what
    `--explain` tells (-1: nobody watches). A container's monitor listens on `listener` and keeps `kept` open to the
    end: the container's lock, and the sockets that reserve its ports. A further process waits on `start`.
    """

    root: str
    state: str
    record: ContainerRecord
    channel: int = -1
    control: int = -1
    trace: int = -1
    container: LaunchSpec | None = None
    listener: int = -1
    kept: tuple[int, ...] = ()
    process: ExecSpec | None = None
    start: int = -1

    def descriptors(self) -> tuple[int, ...]:
        """Return all that the shim inherits."""
        single = (self.channel, self.control, self.trace, self.listener, self.start)
        return (*(fd for fd in single if fd >= 0), *self.kept)
