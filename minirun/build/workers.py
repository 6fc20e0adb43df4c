"""A process for each stage that is being built, and the one that waits for them.

Stages that do not need each other are built at the same time, each as soon as what it needs is there. A stage's process
does one step after the other. What it tells comes through a pipe, as lines of JSON, and what its commands write through
another one.
"""

from __future__ import annotations

import _signal as signal  # the C part of `signal`, which would bring `enum` along, for 5 ms
import os
import select

from minirun.build.request import Progress
from minirun.build.stage import Built, StageBuilder, StepError
from minirun.errors import MinirunError
from minirun.kernel.hostfiles import write_all
from minirun.kernel.privilege import set_parent_death_signal
from minirun.kernel.process import fork, send_signal
from minirun.kernel.session.undisturbed import undisturbed
from minirun.model import jsontext
from minirun.storage.ingest import Ingest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from minirun.build.material import Material
    from minirun.build.stages import Stage

_PIECE = 64 << 10
# More at a time only make each other wait.
_AT_ONCE_MIN = 2


def build_stages(material: Material, progress: Progress, ingest: Ingest) -> None:
    """Build what the plan's target needs into `material.stages`, whose layers `ingest` keeps in the store.

    Raises the error of the first step that fails; the other stages' steps are ended then.
    """
    plan = material.plan
    waiting = [number for number in plan.order if number not in material.stages]
    working: dict[int, _Worker] = {}
    at_once = max(_AT_ONCE_MIN, os.cpu_count() or 1)
    try:
        while waiting or working:
            for number in list(waiting):
                stage = plan.stages[number]
                if len(working) < at_once and all(need in material.stages for need in stage.needs):
                    waiting.remove(number)
                    working[number] = _Worker(material, stage, list(working.values()))
            for number in _ready(working):
                built = working[number].hear(progress)
                if built:
                    for layer in built.layers:
                        ingest.pin_layer(layer.diff_id)
                    material.stages[number] = built
                    working.pop(number).finish()
    except BaseException:
        with undisturbed():
            for worker in working.values():
                worker.end(progress)
        raise


def _ready(working: dict[int, _Worker]) -> list[int]:
    """Wait until at least one of the workers has something to say; return the numbers of those."""
    poll = select.poll()
    owners = {}
    for number, worker in working.items():
        for fd in worker.descriptors():
            poll.register(fd, select.POLLIN)
            owners[fd] = number
    return list(dict.fromkeys(owners[fd] for fd, _ in poll.poll()))


def _is_ready(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


class _Worker:
    """A stage's process, as the one that waits sees it."""

    def __init__(self, material: Material, stage: Stage, others: list[_Worker]) -> None:
        self._events, events = os.pipe2(os.O_CLOEXEC)
        self._output, output = os.pipe2(os.O_CLOEXEC)
        proceed, self._proceed = os.pipe2(os.O_CLOEXEC)
        parent = os.getpid()
        self.pid = fork()
        if self.pid == 0:
            for worker in (self, *others):
                worker.close()
            _work(material, stage, events, output, proceed, parent)
        for fd in (events, output, proceed):
            os.close(fd)
        self._heard = b""
        self._step = 0
        self._output_open = True

    def descriptors(self) -> list[int]:
        return [self._events, *([self._output] if self._output_open else [])]

    def hear(self, progress: Progress) -> Built | None:
        """Take what the process has told; return the stage if it is built. Raises the error that it ended by."""
        self._take_output(progress)
        if not _is_ready(self._events):
            return None
        data = os.read(self._events, _PIECE)
        if not data:
            raise MinirunError("a build's process was killed", exit_code=1)
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            # What a step has written comes before its end.
            self._take_output(progress)
            told = jsontext.loads(line)
            if "built" in told:
                return Built.read_back(told["built"])
            if "error" in told:
                raise _error_of(told)
            self._pass_on(told, progress)
        return None

    def finish(self) -> None:
        """Let the process end, now that others keep what it has made."""
        self.close()
        os.waitpid(self.pid, 0)

    def end(self, progress: Progress) -> None:
        """Have the process end its step, and wait until it has cleaned up."""
        send_signal(self.pid, signal.SIGTERM)
        while self._output_open:
            _ready({0: self})
            self._take_output(progress)
        self.finish()

    def close(self) -> None:
        for fd in (self._events, self._output, self._proceed):
            os.close(fd)

    def _take_output(self, progress: Progress) -> None:
        while self._output_open and _is_ready(self._output):
            data = os.read(self._output, _PIECE)
            if data:
                progress.output(self._step, data)
            else:
                self._output_open = False

    def _pass_on(self, told: dict[str, Any], progress: Progress) -> None:
        self._step = told["step"]
        if told["event"] == "begin":
            progress.begin(self._step, told["text"])
        elif told["event"] == "cached":
            progress.cached(self._step)
        elif told["event"] == "done":
            progress.done(self._step, told["seconds"])
        else:
            progress.failed(self._step, told["text"])


def _error_of(told: dict[str, Any]) -> MinirunError:
    error = MinirunError(told["error"], told["hint"], told["exit_code"])
    return StepError(error, told["line"], told["last_line"]) if told["line"] else error


# -- in the stage's process --------------------------------------------------------------------------------------------
class _Teller(Progress):
    """Tells the process that waits."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def tell(self, **fields: Any) -> None:
        write_all(self._pipe, jsontext.dumps(fields).encode() + b"\n")

    def begin(self, step: int, title: str) -> None:
        self.tell(event="begin", step=step, text=title)

    def cached(self, step: int) -> None:
        self.tell(event="cached", step=step)

    def done(self, step: int, seconds: float) -> None:
        self.tell(event="done", step=step, seconds=seconds)

    def failed(self, step: int, reason: str) -> None:
        self.tell(event="failed", step=step, text=reason)


def _work(material: Material, stage: Stage, events: int, output: int, proceed: int, parent: int) -> NoReturn:
    """Build one stage, tell how it went, and never return into the code of the parent."""
    teller = _Teller(events)
    try:
        signal.signal(signal.SIGTERM, _end)
        set_parent_death_signal(signal.SIGTERM)
        if os.getppid() != parent:
            raise SystemExit(1)  # it had gone before
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        with Ingest(material.layout) as material.ingest:
            base = material.built(stage.base)
            built = StageBuilder(material, stage, base, teller).build()
            teller.tell(built=built.as_dict())
            os.read(proceed, 1)  # until the layers are pinned there
    except MinirunError as error:
        line = getattr(error, "line", 0)
        last_line = getattr(error, "last_line", line)
        teller.tell(error=error.message, hint=error.hint, exit_code=error.exit_code, line=line, last_line=last_line)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        teller.tell(error=f"{where}{error.strerror}", hint="", exit_code=1, line=0, last_line=0)
    except (SystemExit, KeyboardInterrupt):
        pass  # the build is being ended
    except BaseException as error:  # noqa: BLE001 - it must be told and must not return
        text = f"internal error: {type(error).__name__}: {error}"
        teller.tell(error=text, hint="", exit_code=1, line=0, last_line=0)
    finally:
        os._exit(0)


def _end(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)
