"""An instruction with its variables replaced: what it says at the place where it stands.

Which parts of an instruction have variables: Dockerfile reference, "Environment replacement". A value may be written
with them in each place that is named here, and nowhere else.
"""

from __future__ import annotations

from minirun.build.dockerfile.error import DockerfileError
from minirun.build.dockerfile.instructions import (
    Add,
    Copy,
    Env,
    Expose,
    Instruction,
    Label,
    Run,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from minirun.build.dockerfile.mounts import read_mount
from minirun.build.variables.words import expand, expand_text, expand_to_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, TypeVar

    from minirun.build.dockerfile.instructions import Heredoc
    from minirun.build.dockerfile.mounts import Mount

    Any_Instruction = TypeVar("Any_Instruction", bound=Instruction)

_TEXTS: dict[type[Instruction], tuple[str, ...]] = {
    Copy: ("dest", "chown", "chmod"),
    Add: ("dest", "chown", "chmod", "checksum"),
    Workdir: ("path",),
    User: ("user",),
    StopSignal: ("signal",),
}
_LISTS: dict[type[Instruction], tuple[str, ...]] = {
    Copy: ("sources", "excludes"),
    Add: ("sources", "excludes"),
    Volume: ("paths",),
}
_PAIRS: dict[type[Instruction], str] = {Env: "variables", Label: "labels"}


def expanded(instruction: Any_Instruction, variables: Mapping[str, str], escape: str) -> Any_Instruction:
    """Return an instruction of which every word is what it stands for; the shell's words stay as they are.

    ARG is not for this function but for `Scope.after_arg`, and RUN's mounts are for `mounts_of`. Raises
    DockerfileError.
    """
    try:
        return instruction.replace(**_changes(instruction, variables, escape))
    except DockerfileError as error:
        raise error.at(instruction.line) from None


def mounts_of(run: Run, variables: Mapping[str, str], escape: str) -> tuple[Mount, ...]:
    """Return RUN's mounts, typed, in the order in which they are written. Raises DockerfileError."""
    try:
        return tuple(read_mount(flag, lambda word: expand(word, variables, escape)) for flag in run.mounts)
    except DockerfileError as error:
        raise error.at(run.line) from None


def _changes(instruction: Instruction, variables: Mapping[str, str], escape: str) -> dict[str, Any]:
    """Return the fields of an instruction that have words, expanded."""
    kind = type(instruction)
    changes: dict[str, Any] = {}
    for name in _TEXTS.get(kind, ()):
        changes[name] = expand(getattr(instruction, name), variables, escape)
    for name in _LISTS.get(kind, ()):
        changes[name] = tuple(expand(word, variables, escape) for word in getattr(instruction, name))
    if kind in _PAIRS:
        name = _PAIRS[kind]
        changes[name] = tuple(
            (expand(key, variables, escape), expand(value, variables, escape))
            for key, value in getattr(instruction, name)
        )
    if isinstance(instruction, Expose):
        changes["ports"] = tuple(
            word for port in instruction.ports for word in expand_to_words(port, variables, escape)
        )
    if isinstance(instruction, Copy | Add):
        changes["heredocs"] = tuple(_texts(instruction.heredocs, variables))
    return changes


def _texts(heredocs: Iterable[Heredoc], variables: Mapping[str, str]) -> Iterable[Heredoc]:
    """Yield heredocs with their text expanded, unless their name was quoted."""
    for heredoc in heredocs:
        content = expand_text(heredoc.content, variables) if heredoc.expand else heredoc.content
        yield heredoc.replace(content=content)
