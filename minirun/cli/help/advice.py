"""Advice for a `run` or `exec` that failed: what newcomers to containers may have meant.

Imported only once something has failed.
"""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.model.spelling import closest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from minirun.model.layout import Layout

RECIPES = ("busybox", "debian", "demo")  # those of the directory images
# Commands that a shell carries out itself: bash(1), SHELL BUILTIN COMMANDS and COMPOUND COMMANDS, without those that
# are programs as well.
_BUILTINS = frozenset(
    """
    . : [[ alias bg bind break builtin caller case cd command compgen complete continue declare dirs disown enable eval
    exec exit export fc fg for function getopts hash help history if jobs let local logout mapfile popd pushd read
    readonly return select set shift shopt source suspend time times trap type typeset ulimit umask unalias unset until
    wait while {
    """.split()
)
_SHELLS = frozenset({"bash", "zsh", "fish", "ksh", "/bin/bash", "/usr/bin/bash", "/bin/zsh"})


def improve(error: MinirunError, before: str, after: Sequence[str]) -> MinirunError:
    """Return the error of a command that could not be executed with a better hint, if it is a known mistake.

    `before` is what comes before the command, "run busybox"; `after` is the command.
    """
    hint = (
        _about_command(before, after) if after and error.exit_code in (126, 127) and after[0] in error.message else ""
    )
    return MinirunError(error.message, hint or error.hint, error.exit_code)


def _about_command(before: str, words: Sequence[str]) -> str:
    verb, _, subject = before.partition(" ")
    first, rest = words[0], " ".join(words[1:])
    line = " ".join(words)
    if not first:
        return "The command is an empty word: is it a variable that is not set?"
    if first.startswith("-"):
        if not _is_flag_of(verb, first):
            return ""
        return f"Flags of '{verb}' go before the {_kind(verb)}: minirun {verb} {first} ... {subject} ..."
    if any(letter.isspace() for letter in first):
        return f"That is one word with a space in it: leave the quotes out, or use a shell: {before} sh -c '{line}'."
    if first in _BUILTINS:
        return f"'{first}' is a part of the shell and no program: {before} sh -c '{line}'."
    name, equals, _ = first.partition("=")
    if equals and name.isidentifier():
        return f"Variables are set by a flag: minirun {verb} -e {first} {subject} {rest}".rstrip() + "."
    if first in _SHELLS:
        return f"Not every image has it; most have sh: {before} sh."
    return ""


def _is_flag_of(verb: str, word: str) -> bool:
    from minirun.cli.grammar import Verb
    from minirun.cli.verbs.table import MINIRUN

    found = MINIRUN.find(verb)
    name = word.partition("=")[0] if word.startswith("--") else word[:2]
    return isinstance(found, Verb) and any(name in flag.names for flag in found.flags)


def _kind(verb: str) -> str:
    return "container" if verb == "exec" else "image"


def for_missing_image(error: MinirunError, layout: Layout, reference: str) -> MinirunError:
    """Return the error for a missing image with a hint: another name that may have been meant, or how to get it."""
    from minirun.model.image import ImageRef
    from minirun.storage.images import read_names

    wanted = ImageRef.parse(reference)
    name = wanted.familiar_name
    try:
        there = [ImageRef.parse(text) for text in read_names(layout)]
    except OSError:
        there = []
    tags = sorted(ref.familiar for ref in there if ref.familiar_name == name)
    close = closest(name, [ref.familiar_name for ref in there])
    if tags:
        hint = f"There is {', '.join(tags)}."
    elif close:
        hint = f"Did you mean '{close}'? 'minirun images' lists what there is."
    elif name in RECIPES:
        hint = f"'sudo images/build {name}' in minirun's checkout makes it."
    else:
        hint = error.hint
    return MinirunError(error.message, hint, error.exit_code)
