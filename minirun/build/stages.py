"""The stages of a Dockerfile, and which of them a target needs.

Source: Dockerfile reference, "FROM", "COPY --from", "RUN --mount"; the order in which a name is looked up is
BuildKit's: a context that the caller named, a stage, an image.
"""

from __future__ import annotations

from minirun.build.dockerfile.error import DockerfileError
from minirun.build.dockerfile.instructions import Arg, Copy, From, Onbuild, Run
from minirun.build.dockerfile.parse import parse_trigger
from minirun.build.dockerfile.spelling import did_you_mean
from minirun.build.variables.scope import global_scope
from minirun.build.variables.words import expand
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from minirun.build.dockerfile.instructions import Instruction
    from minirun.build.dockerfile.parse import Dockerfile

SCRATCH = "scratch"
"""The base that is no image and has no files."""


class Origin(Record):
    """What FROM or a `from` names: a stage by its number, a context that the caller named, an image, or nothing.

    One of the fields is set; none of them is for "scratch".
    """

    stage: int | None = None
    context: str = ""
    image: str = ""


class Stage(Record):
    """One stage, by its number from 0. `start` is its FROM, `platform` that of FROM, expanded, or empty.

    `needs` are the stages that it takes files from, its base's first, and those of the ONBUILD triggers of a base that
    is a stage as well. Triggers of an image are known only when its config is: `origin_of` says what they name.
    """

    number: int
    start: From
    base: Origin
    platform: str
    instructions: tuple[Instruction, ...]
    triggers: tuple[Instruction, ...]
    needs: tuple[int, ...]

    @property
    def name(self) -> str:
        """The name of AS, or "stage-N"."""
        return self.start.name or f"stage-{self.number}"


class Plan(Record):
    """What is to be built: all `stages` of the file, and the numbers of those that `target` needs, in an order in
    which each comes after what it needs.

    `first_args` are the ARGs before the first FROM, `global_args` the variables that they make: FROM sees them, and ARG
    without a value takes them.
    """

    stages: tuple[Stage, ...]
    target: int
    order: tuple[int, ...]
    first_args: tuple[Arg, ...]
    global_args: dict[str, str]
    contexts: tuple[str, ...]
    escape: str

    def origin_of(self, name: str) -> Origin:
        """Return what `COPY --from=name` or `RUN --mount=from=name` means. Raises DockerfileError."""
        return _origin(name, [stage.start for stage in self.stages], self.contexts)

    def all_args(self) -> list[Arg]:
        """Return the ARGs before the first FROM and in the stages that are built."""
        stages = [self.stages[number] for number in self.order]
        return [*self.first_args, *(each for stage in stages for each in stage.instructions if isinstance(each, Arg))]


def target_name(dockerfile: Dockerfile, target: str) -> str:
    """Return the name of the stage that is asked for, or of the last one, as TARGETSTAGE has it; it may be empty.

    Raises DockerfileError if there is no such stage.
    """
    starts = _starts(dockerfile)
    return starts[_target(starts, target)].name


def make_plan(
    dockerfile: Dockerfile,
    build_args: Mapping[str, str],
    predefined: Mapping[str, str],
    target: str = "",
    contexts: Iterable[str] = (),
) -> Plan:
    """Say what has to be built for a target; the last stage if that is empty.

    `predefined` are the platform ARGs (`scope.platform_variables`), `contexts` the names of `--build-context`. Raises
    DockerfileError for a target, a base or a source that cannot be.
    """
    names = tuple(contexts)
    first_args = tuple(_first_args(dockerfile))
    variables = global_scope(first_args, build_args, predefined, dockerfile.directives.escape)
    starts = _starts(dockerfile)
    stages: list[Stage] = []
    for start, instructions in _sections(dockerfile):
        triggers: tuple[Instruction, ...] = ()
        try:
            base = _base(start, stages, variables, names, dockerfile.directives.escape)
            platform = _platform(start, variables, dockerfile.directives.escape)
        except DockerfileError as error:
            raise error.at(start.line) from None
        if base.stage is not None:
            triggers = _triggers(stages[base.stage].instructions)
        needs = _needs(base, [*triggers, *instructions], starts, names)
        stages.append(Stage(len(stages), start, base, platform, instructions, triggers, needs))
    for stage in stages:
        _order(stages, stage.number)  # a circle is refused even where nothing needs it
    number = _target(starts, target)
    order = _order(stages, number)
    return Plan(tuple(stages), number, order, first_args, variables, names, dockerfile.directives.escape)


def sources_of(instructions: Iterable[Instruction]) -> list[tuple[str, int]]:
    """Return the names that COPY and RUN take files from, each with the instruction's line."""
    found: list[tuple[str, int]] = []
    for each in instructions:
        if isinstance(each, Copy) and each.from_:
            found.append((each.from_, each.line))
        elif isinstance(each, Run):
            found += [(mount.from_, each.line) for mount in each.mounts if mount.from_]
    return found


def _starts(dockerfile: Dockerfile) -> list[From]:
    return [each for each in dockerfile.instructions if isinstance(each, From)]


def _first_args(dockerfile: Dockerfile) -> list[Arg]:
    """Return the ARGs before the first FROM."""
    found: list[Arg] = []
    for each in dockerfile.instructions:
        if not isinstance(each, Arg):
            break
        found.append(each)
    return found


def _sections(dockerfile: Dockerfile) -> Iterable[tuple[From, tuple[Instruction, ...]]]:
    """Yield each FROM with the instructions up to the next one."""
    places = [i for i, each in enumerate(dockerfile.instructions) if isinstance(each, From)]
    for start, place, end in zip(_starts(dockerfile), places, [*places[1:], None], strict=True):
        yield start, dockerfile.instructions[place + 1 : end]


def _needs(
    base: Origin, instructions: Iterable[Instruction], starts: Sequence[From], contexts: Sequence[str]
) -> tuple[int, ...]:
    """Return the stages that instructions on a base take files from. Raises DockerfileError."""
    origins = [base]
    for name, line in sources_of(instructions):
        try:
            origins.append(_origin(name, starts, contexts))
        except DockerfileError as error:
            raise error.at(line) from None
    return tuple(dict.fromkeys(origin.stage for origin in origins if origin.stage is not None))


def _triggers(instructions: Iterable[Instruction]) -> tuple[Instruction, ...]:
    return tuple(parse_trigger(each.trigger, each.line) for each in instructions if isinstance(each, Onbuild))


def _platform(start: From, variables: Mapping[str, str], escape: str) -> str:
    platform = expand(start.platform, variables, escape)
    if start.platform and not platform:
        raise DockerfileError(f"empty platform value from expression {start.platform}")
    return platform


def _base(
    start: From, before: Sequence[Stage], variables: Mapping[str, str], contexts: Sequence[str], escape: str
) -> Origin:
    """Return what FROM names: a stage must stand before it, and a number is no stage."""
    name = expand(start.base, variables, escape)
    if not name:
        raise DockerfileError(
            f"base name ({start.base}) should not be blank",
            "FROM sees the variables of ARGs that stand before the first FROM.",
        )
    if name in contexts:
        return Origin(context=name)
    stage = next((stage.number for stage in reversed(before) if stage.start.name == name), None)
    if stage is not None:
        return Origin(stage=stage)
    return Origin(image="" if name == SCRATCH else name)


def _origin(name: str, starts: Sequence[From], contexts: Sequence[str]) -> Origin:
    """Return what a `from` names: any stage by name or number, the last one of a name."""
    if name in contexts:
        return Origin(context=name)
    if name.lstrip("+-").isdecimal() and name.isascii():
        if not 0 <= int(name) < len(starts):
            raise DockerfileError(f"invalid stage index {int(name)}", f"The stages are 0 to {len(starts) - 1}.")
        return Origin(stage=int(name))
    for number in range(len(starts) - 1, -1, -1):
        if starts[number].name == name.lower():
            return Origin(stage=number)
    return Origin(image="" if name == SCRATCH else name)


def _target(starts: Sequence[From], target: str) -> int:
    if not target:
        return len(starts) - 1
    for number in range(len(starts) - 1, -1, -1):
        if starts[number].name == target.lower():
            return number
    names = [start.name for start in starts if start.name]
    hint = did_you_mean(target.lower(), names) or "A stage gets a name by FROM image AS name."
    raise DockerfileError(f'target stage "{target}" could not be found', hint)


def _order(stages: Sequence[Stage], target: int) -> tuple[int, ...]:
    """Return the stages that a target needs, each after what it needs. Raises DockerfileError for a circle."""
    done: dict[int, bool] = {}  # False as long as its needs are being looked at
    path = [(target, iter(stages[target].needs))]
    done[target] = False
    while path:
        number, needs = path[-1]
        need = next(needs, None)
        if need is None:
            del done[number]
            done[number] = True  # now behind those that it needs
            path.pop()
        elif need not in done:
            done[need] = False
            path.append((need, iter(stages[need].needs)))
        elif not done[need]:
            raise DockerfileError(
                f"circular dependency detected on stage: {stages[need].name}",
                "A stage cannot take files from itself, nor from one that needs it.",
                stages[need].start.line,
            )
    return tuple(done)
