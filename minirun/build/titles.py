"""What progress calls a step: its instruction as it is written, with its variables' values, as BuildKit shows it."""

from __future__ import annotations

from minirun.build.dockerfile.error import DockerfileError
from minirun.build.dockerfile.instructions import Run
from minirun.build.stages import sources_of
from minirun.build.variables.words import Lexer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from minirun.build.dockerfile.instructions import Instruction
    from minirun.build.stages import Plan


def title(instruction: Instruction, variables: Mapping[str, str], escape: str) -> str:
    """Return an instruction in one line; a shell's line keeps its quotes, and what only the shell knows."""
    is_run = isinstance(instruction, Run)
    words = instruction.text[len(instruction.word) :]
    lexer = Lexer(words, variables, escape, keep_quotes=is_run, keep_escapes=is_run, keep_unset=is_run)
    try:
        return instruction.word + lexer.read()[0]
    except DockerfileError:
        return instruction.word + words


def has_many_parts(plan: Plan) -> bool:
    """Say whether steps are told apart by their stages' names: an image that is copied from counts as a stage."""
    names = {name for stage in plan.stages for name, _ in sources_of(stage.instructions)}
    return len(plan.stages) > 1 or any(plan.origin_of(name).image for name in names)
