"""What each instruction makes of its arguments.

Source: Dockerfile reference, a section for each instruction; limits and messages are BuildKit's.
"""

from __future__ import annotations

from minirun.build.dockerfile.error import DockerfileError
from minirun.build.dockerfile.forms import json_words, pairs, split_first, words
from minirun.build.dockerfile.healthcheck import read_healthcheck
from minirun.build.dockerfile.heredocs import read_mark
from minirun.build.dockerfile.instructions import (
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from minirun.build.dockerfile.mounts import read_flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from minirun.build.dockerfile.instructions import Heredoc, Instruction
    from minirun.build.dockerfile.written import Written

_NETWORKS = ("default", "none", "host")
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")


def _from(written: Written) -> From:
    found = written.arguments.split()
    if len(found) == 1:
        return From(**written.place, base=found[0], platform=written.flags.text("platform"))
    if len(found) != 3 or found[1].lower() != "as":
        raise DockerfileError("FROM requires either one or three arguments", "Write FROM image, or FROM image AS name.")
    name = found[2].lower()
    if not name[0].isalpha() or not _NAME_CHARACTERS.issuperset(name):
        raise DockerfileError(
            f'invalid name for build stage: "{found[2]}", name can\'t start with a number or contain symbols'
        )
    return From(**written.place, base=found[0], platform=written.flags.text("platform"), name=name)


def _run(written: Written) -> Run:
    if written.flags.text("security"):
        raise DockerfileError(
            "RUN --security is not supported", "A build's commands have the rights of a container without flags."
        )
    if written.flags.all("device"):
        raise DockerfileError("RUN --device is not supported", "A build's commands see the devices of any container.")
    network = written.flags.text("network") or "default"
    if network not in _NETWORKS:
        raise DockerfileError(f'network mode "{network}" is not valid', f"There is {', '.join(_NETWORKS)}.")
    return Run(
        **written.place,
        **written.command_form(),
        heredocs=written.heredocs,
        is_lone_heredoc=bool(written.heredocs and read_mark(written.arguments)),
        mounts=tuple(map(read_flag, written.flags.all("mount"))),
        network=network,
    )


def _copy(written: Written) -> Copy:
    flags = written.flags
    if "$" in flags.text("from"):
        raise DockerfileError(
            "variable expansion is not supported for --from",
            "Define a new stage with FROM, whose image may have a variable of an ARG before the first FROM.",
        )
    return Copy(
        **written.place,
        **_files(written),
        from_=flags.text("from"),
        parents=flags.is_set("parents"),
    )


def _add(written: Written) -> Add:
    flags = written.flags
    return Add(
        **written.place,
        **_files(written),
        checksum=flags.text("checksum"),
        keep_git_dir=flags.is_set("keep-git-dir"),
        unpack=flags.choice("unpack"),
    )


def _files(written: Written) -> dict[str, Any]:
    """Return what COPY and ADD have in common."""
    paths = json_words(written.arguments)
    plain = paths is None
    if paths is None:
        paths = tuple(written.arguments.split())
    if len(paths) < 2:
        raise DockerfileError(
            f"{written.word} requires at least two arguments, but only one was provided. "
            "Destination could not be determined"
        )
    *sources, dest = paths
    if plain and read_mark(dest):
        raise DockerfileError(f"{written.word} cannot accept a heredoc as a destination")
    return {
        "sources": tuple(source for source in sources if not (plain and read_mark(source))),
        "dest": dest,
        "heredocs": written.heredocs,
        "chown": written.flags.text("chown"),
        "chmod": written.flags.text("chmod"),
        "link": written.flags.is_set("link"),
        "excludes": written.flags.all("exclude"),
    }


def _arg(written: Written) -> Arg:
    found = words(written.arguments, written.escape)
    if not found:
        raise DockerfileError("ARG requires at least one argument")
    variables = []
    for word in found:
        name, equals, value = word.partition("=")
        if not name:
            raise DockerfileError("ARG names can not be blank")
        variables.append((name, value if equals else None))
    return Arg(**written.place, variables=tuple(variables))


def _env(written: Written) -> Env:
    return Env(**written.place, variables=pairs(written.arguments, written.escape, "ENV"))


def _label(written: Written) -> Label:
    return Label(**written.place, labels=pairs(written.arguments, written.escape, "LABEL"))


def _workdir(written: Written) -> Workdir:
    return Workdir(**written.place, path=written.one())


def _user(written: Written) -> User:
    return User(**written.place, user=written.one())


def _entrypoint(written: Written) -> Entrypoint:
    return Entrypoint(**written.place, **written.command_form())


def _cmd(written: Written) -> Cmd:
    return Cmd(**written.place, **written.command_form())


def _expose(written: Written) -> Expose:
    return Expose(**written.place, ports=written.words())


def _volume(written: Written) -> Volume:
    paths = tuple(path.strip() for path in written.list_form())
    if not paths:
        raise DockerfileError("VOLUME requires at least one argument")
    if not all(paths):
        raise DockerfileError("VOLUME specified can not be an empty string")
    return Volume(**written.place, paths=paths)


def _stop_signal(written: Written) -> StopSignal:
    return StopSignal(**written.place, signal=written.one())


def _shell(written: Written) -> Shell:
    argv = json_words(written.arguments)
    if argv is None and written.arguments:
        raise DockerfileError("SHELL requires the arguments to be in JSON form", 'For example SHELL ["/bin/sh", "-c"].')
    if not argv:
        raise DockerfileError("SHELL requires at least one argument")
    return Shell(**written.place, argv=argv)


def _onbuild(written: Written) -> Onbuild:
    if not written.arguments:
        raise DockerfileError("ONBUILD requires at least one argument")
    trigger = "\n".join([split_first(written.place["text"])[1], *map(_as_written, written.heredocs)])
    return Onbuild(**written.place, trigger=trigger)


def _as_written(heredoc: Heredoc) -> str:
    return f"{heredoc.raw}{heredoc.name}"


def _maintainer(written: Written) -> Maintainer:
    return Maintainer(**written.place, author=written.one())


READERS: dict[str, Callable[[Written], Instruction]] = {
    "ADD": _add,
    "ARG": _arg,
    "CMD": _cmd,
    "COPY": _copy,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "FROM": _from,
    "HEALTHCHECK": read_healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
"""The reader of each instruction, by its word in upper case. All raise DockerfileError."""
