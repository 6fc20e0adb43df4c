"""What a Dockerfile says: a frozen value for each kind of instruction.

Words are as written, with their quotes, escapes and `$`: what they mean depends on the variables at the place where
they stand, and `build/variables/expansion.py` says it. Only the shell's words (of RUN, CMD, ENTRYPOINT, HEALTHCHECK)
are never expanded here.
"""

from __future__ import annotations

from minirun.model.record import Record


class Heredoc(Record):
    """A text that follows an instruction: `<<EOF` and lines up to "EOF".

    `content` ends with a new line unless it is empty; of `<<-EOF` its lines' leading tabs are gone. `raw` is the lines
    as written. `expand` is False if the name was quoted: then `$` means nothing in it.
    """

    name: str
    content: str
    raw: str
    expand: bool = True


class Instruction(Record):
    """One instruction, from `line` to `last_line` (from 1) of the file.

    `text` is the instruction in one line as history shows it: comments gone, continuations joined, without its
    heredocs' lines. `source` is these lines of the file as they are written.
    """

    line: int
    last_line: int
    text: str
    source: str

    @property
    def word(self) -> str:
        """The instruction's name as the reference writes it: "HEALTHCHECK"."""
        return type(self).__name__.upper()


class From(Instruction):
    """FROM: begins a stage on an image or another stage, `base`; `name` is in lower case, or empty."""

    base: str
    platform: str = ""
    name: str = ""


class MountFlag(Record):
    """RUN's `--mount` as written; `mounts.py` makes a typed mount of it once variables are known.

    `from_` names the stage, context or image that it takes files from; it is known before, and may not have variables.
    """

    text: str
    from_: str = ""


class Run(Instruction):
    """RUN: `command` for the shell, or `argv` to execute without one (None: the shell form).

    `is_lone_heredoc` says that the command is `<<EOF` and nothing else: its text is the script then, or, if it begins
    with "#!", a file to execute. `network` is default, none or host.
    """

    command: str = ""
    argv: tuple[str, ...] | None = None
    heredocs: tuple[Heredoc, ...] = ()
    is_lone_heredoc: bool = False
    mounts: tuple[MountFlag, ...] = ()
    network: str = "default"

    @property
    def script(self) -> str:
        """What the shell is given of the shell form; heredocs that stand beside other words it reads itself."""
        if self.is_lone_heredoc:
            return self.heredocs[0].content
        return "\n".join([self.command, *(f"{each.raw}{each.name}" for each in self.heredocs)])


class Copy(Instruction):
    """COPY: `sources` (paths and wildcards) and `heredocs` (files called like them) into `dest`.

    `from_` is a stage, a context or an image, or empty for the build context. `chown` is USER[:GROUP], `chmod` octal or
    symbolic, both empty if not given.
    """

    sources: tuple[str, ...]
    dest: str
    heredocs: tuple[Heredoc, ...] = ()
    from_: str = ""
    chown: str = ""
    chmod: str = ""
    link: bool = False
    parents: bool = False
    excludes: tuple[str, ...] = ()


class Add(Instruction):
    """ADD: as COPY, and sources may be URLs and archives.

    `checksum` is of one URL's file; `unpack` is None where it was not said: then local archives are unpacked and
    downloads are not.
    """

    sources: tuple[str, ...]
    dest: str
    heredocs: tuple[Heredoc, ...] = ()
    chown: str = ""
    chmod: str = ""
    link: bool = False
    excludes: tuple[str, ...] = ()
    checksum: str = ""
    keep_git_dir: bool = False
    unpack: bool | None = None


class Arg(Instruction):
    """ARG: names with their default, None if there is none."""

    variables: tuple[tuple[str, str | None], ...]


class Env(Instruction):
    """ENV: names and values in the order in which they are set."""

    variables: tuple[tuple[str, str], ...]


class Label(Instruction):
    """LABEL: names and values."""

    labels: tuple[tuple[str, str], ...]


class Workdir(Instruction):
    """WORKDIR: a path, relative to the one before."""

    path: str


class User(Instruction):
    """USER: USER[:GROUP]."""

    user: str


class Entrypoint(Instruction):
    """ENTRYPOINT: as in Run; both empty take the entrypoint away."""

    command: str = ""
    argv: tuple[str, ...] | None = None


class Cmd(Instruction):
    """CMD: as in Run; both empty take the command away."""

    command: str = ""
    argv: tuple[str, ...] | None = None


class Expose(Instruction):
    """EXPOSE: PORT[/PROTOCOL] and FIRST-LAST[/PROTOCOL]."""

    ports: tuple[str, ...]


class Volume(Instruction):
    """VOLUME: paths."""

    paths: tuple[str, ...]


class StopSignal(Instruction):
    """STOPSIGNAL: a number or a name."""

    signal: str


class Healthcheck(Instruction):
    """HEALTHCHECK: `command` or `argv` as in Run, or `disabled` by NONE.

    Times are nanoseconds, as in the image's config; 0 is what was not given.
    """

    command: str = ""
    argv: tuple[str, ...] | None = None
    disabled: bool = False
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class Shell(Instruction):
    """SHELL: what runs shell forms from here on."""

    argv: tuple[str, ...]


class Onbuild(Instruction):
    """ONBUILD: an instruction for the images that are built FROM this one.

    `trigger` is its text, as the image's config holds it; `parse_trigger` of parse.py reads it back.
    """

    trigger: str


class Maintainer(Instruction):
    """MAINTAINER: the image's author."""

    author: str
