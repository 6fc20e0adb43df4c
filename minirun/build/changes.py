"""`commit --change` and `import --change`: single instructions of the Dockerfile language, for an image's config."""

from __future__ import annotations

from minirun.build.config import CHANGES, Config
from minirun.build.dockerfile.error import DockerfileError
from minirun.build.dockerfile.instructions import Maintainer
from minirun.build.dockerfile.parse import parse
from minirun.build.variables.expansion import expanded
from minirun.build.variables.scope import first_scope
from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


def apply_changes(config: dict[str, Any], changes: Iterable[str]) -> dict[str, Any]:
    """Return a copy of an OCI config with the instructions applied in turn.

    Raises MinirunError (1) for an instruction that is unknown, malformed, or makes files.
    """
    changed = Config({"config": config})
    for text in changes:
        try:
            _apply(changed, text)
        except DockerfileError as error:
            hint = error.hint or "For example --change 'CMD [\"/bin/sh\"]'."
            raise MinirunError(f"invalid --change: {error.reason}", hint, exit_code=1) from None
    changed.config.pop("ArgsEscaped", None)  # as in Docker, it is a builder's word
    return changed.config | ({"ArgsEscaped": config["ArgsEscaped"]} if "ArgsEscaped" in config else {})


def _apply(config: Config, text: str) -> None:
    scope = first_scope(config.environment)
    found = parse(f"FROM scratch\n{text}\n")
    instructions = found.instructions[1:]
    if not instructions:
        raise DockerfileError(f"{text!r} is no instruction")
    for instruction in instructions:
        if type(instruction) not in CHANGES or isinstance(instruction, Maintainer):
            raise DockerfileError(f"{instruction.word} is not a valid change command")
        config.apply(expanded(instruction, scope.variables, found.directives.escape))
