"""The instructions that change an image's config and no file, and what history says of each instruction.

Source: image-spec config.md, and for the words of history BuildKit, whose images people compare.
"""

from __future__ import annotations

import posixpath
import sys

from minirun.build.dockerfile.error import DockerfileError
from minirun.build.dockerfile.instructions import (
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from minirun.build.ports import exposed_ports
from minirun.errors import MinirunError
from minirun.model.jsontext import quoted
from minirun.model.signals import parse_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from minirun.build.dockerfile.instructions import Instruction
    from minirun.build.variables.scope import Scope

_GO_ESCAPES = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 39: "'", 92: "\\"}
_ASCII_MAX = 127
DEFAULT_SHELL = ("/bin/sh", "-c")
DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Config:
    """An image's config document while it is being built: `config` is its part "config", as the image spec has it."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = {key: value for key, value in document.items() if key not in ("config", "rootfs", "history")}
        self.config: dict[str, Any] = dict(document.get("config") or {})
        self.history: list[dict[str, Any]] = list(document.get("history") or [])
        self._has_cmd = False

    @property
    def shell(self) -> tuple[str, ...]:
        """What runs shell forms."""
        return tuple(self.config.get("Shell") or DEFAULT_SHELL)

    @property
    def working_dir(self) -> str:
        return self.config.get("WorkingDir") or "/"

    @property
    def user(self) -> str:
        return self.config.get("User") or ""

    @property
    def environment(self) -> list[str]:
        return list(self.config.get("Env") or ())

    def begin_stage(self) -> list[str]:
        """Make what an image left behind fit for a stage FROM it; return its ONBUILD triggers, which are used up."""
        if not any(item.startswith("PATH=") for item in self.environment):
            self.config["Env"] = [*self.environment, DEFAULT_PATH]
        return list(self.config.pop("OnBuild", None) or ())

    def apply(self, instruction: Instruction) -> None:
        """Change the config by an instruction whose words are expanded. Raises DockerfileError."""
        change = CHANGES.get(type(instruction))
        if change:
            change(self, instruction)

    def command(self, line: str, argv: Sequence[str] | None) -> list[str]:
        """Return what is executed: `argv`, or a line for the shell; nothing if both are empty."""
        if argv is not None:
            return list(argv)
        return [*self.shell, line] if line else []

    # -- the instructions --------------------------------------------------------------------------------------------
    def _cmd(self, cmd: Cmd) -> None:
        self.config["Cmd"] = self.command(cmd.command, cmd.argv)
        self.config["ArgsEscaped"] = True  # means something on Windows alone, and BuildKit says it everywhere
        self._has_cmd = True

    def _entrypoint(self, entrypoint: Entrypoint) -> None:
        self.config["Entrypoint"] = self.command(entrypoint.command, entrypoint.argv)
        if not self._has_cmd:
            self.config.pop("Cmd", None)  # it was meant for the image's own entrypoint

    def _env(self, env: Env) -> None:
        for name, value in env.variables:
            items = self.environment
            at = next((i for i, item in enumerate(items) if item.partition("=")[0] == name), len(items))
            items[at : at + 1] = [f"{name}={value}"]
            self.config["Env"] = items

    def _label(self, label: Label) -> None:
        self.config["Labels"] = (self.config.get("Labels") or {}) | dict(label.labels)

    def _expose(self, expose: Expose) -> None:
        ports: dict[str, Any] = {port: {} for port in exposed_ports(expose.ports)}
        self.config["ExposedPorts"] = (self.config.get("ExposedPorts") or {}) | ports

    def _volume(self, volume: Volume) -> None:
        if not all(path.strip() for path in volume.paths):
            raise DockerfileError("VOLUME specified can not be an empty string")
        self.config["Volumes"] = (self.config.get("Volumes") or {}) | {path: {} for path in volume.paths}

    def _workdir(self, workdir: Workdir) -> None:
        self.config["WorkingDir"] = posixpath.normpath(posixpath.join("/", self.working_dir, workdir.path))

    def _user(self, user: User) -> None:
        self.config["User"] = user.user

    def _stop_signal(self, stop: StopSignal) -> None:
        try:
            parse_signal(stop.signal)
        except MinirunError as error:
            raise DockerfileError(error.message, error.hint) from None
        self.config["StopSignal"] = stop.signal

    def _healthcheck(self, check: Healthcheck) -> None:
        if check.disabled:
            self.config["Healthcheck"] = {"Test": ["NONE"]}
            return
        test = ["CMD-SHELL", check.command] if check.argv is None else ["CMD", *check.argv]
        times = {
            "Interval": check.interval,
            "Timeout": check.timeout,
            "StartPeriod": check.start_period,
            "StartInterval": check.start_interval,
            "Retries": check.retries,
        }
        self.config["Healthcheck"] = {"Test": test, **{key: value for key, value in times.items() if value}}

    def _shell(self, shell: Shell) -> None:
        self.config["Shell"] = list(shell.argv)

    def _onbuild(self, onbuild: Onbuild) -> None:
        self.config["OnBuild"] = [*(self.config.get("OnBuild") or ()), onbuild.trigger]

    def _maintainer(self, maintainer: Maintainer) -> None:
        self.document["author"] = maintainer.author


CHANGES: dict[type[Instruction], Callable[[Config, Any], None]] = {
    Cmd: Config._cmd,
    Entrypoint: Config._entrypoint,
    Env: Config._env,
    Expose: Config._expose,
    Healthcheck: Config._healthcheck,
    Label: Config._label,
    Maintainer: Config._maintainer,
    Onbuild: Config._onbuild,
    Shell: Config._shell,
    StopSignal: Config._stop_signal,
    User: Config._user,
    Volume: Config._volume,
    Workdir: Config._workdir,
}
"""Which instructions change the config, and how."""


def history_words(instruction: Instruction, config: Config, args: Mapping[str, str | None]) -> str:
    """Return what history says of an instruction that is expanded, after it was applied; "" if it says nothing."""
    word, current = instruction.word, config.config
    if isinstance(instruction, Copy | Add):
        flags = [
            f"--{name}={value}" for name, value in (("chown", instruction.chown), ("chmod", instruction.chmod)) if value
        ]
        return " ".join((word, *flags, *instruction.sources, instruction.dest, "# buildkit"))
    if isinstance(instruction, Arg):
        known = ((name, args.get(name)) for name, _ in instruction.variables)
        return " ".join((word, *(name if value is None else f"{name}={value}" for name, value in known)))
    if isinstance(instruction, Env | Label):
        pairs = instruction.variables if isinstance(instruction, Env) else instruction.labels
        return " ".join((word, *(f"{name}={value}" for name, value in pairs)))
    if isinstance(instruction, Cmd | Entrypoint):
        argv = current["Cmd" if isinstance(instruction, Cmd) else "Entrypoint"]
        return f"{word} [{' '.join(quoted(item) for item in argv)}]"
    if isinstance(instruction, Expose):
        ports = sorted(exposed_ports(instruction.ports))
        return f"EXPOSE map[{' '.join(f'{port}:{{}}' for port in ports)}]"
    if isinstance(instruction, Volume):
        return f"VOLUME [{' '.join(instruction.paths)}]"
    if isinstance(instruction, Shell):
        return f"SHELL [{' '.join(instruction.argv)}]"
    if isinstance(instruction, Workdir):
        return f"WORKDIR {current['WorkingDir']}"
    if isinstance(instruction, User):
        return f"USER {instruction.user}"
    if isinstance(instruction, StopSignal):
        return f"STOPSIGNAL {instruction.signal}"
    if isinstance(instruction, Maintainer):
        return f"MAINTAINER {instruction.author}"
    if isinstance(instruction, Healthcheck):
        return _health_words(current["Healthcheck"])
    return ""


def run_words(argv: Sequence[str], scope: Scope) -> str:
    """Return what history says of RUN: the command, and before it how many ARGs there were, and what they were then."""
    known = [f"{name}={scope.variables.get(name, '')}" for name in scope.args]
    return " ".join(("RUN", *((f"|{len(known)}", *known) if known else ()), *argv, "# buildkit"))


def _health_words(check: Mapping[str, Any]) -> str:
    times = (_go_duration(check.get(key, 0)) for key in ("Interval", "Timeout", "StartPeriod"))
    test = " ".join(quoted(item) for item in check["Test"])
    retries = _go_character(check.get("Retries", 0))
    return f"HEALTHCHECK &{{[{test}] {' '.join(quoted(time) for time in times)} {retries}}}"


def _go_character(number: int) -> str:
    """Return a number as Go's %q prints it, as the character of this number: BuildKit's history has it for retries."""
    if number in _GO_ESCAPES:
        return f"'\\{_GO_ESCAPES[number]}'"
    character = chr(number) if number <= sys.maxunicode else "\ufffd"
    if character.isprintable():
        return f"'{character}'"
    return f"'\\x{number:02x}'" if number <= _ASCII_MAX else f"'\\u{number:04x}'"


def _go_duration(nanoseconds: int) -> str:
    """Return a duration as Go's time.Duration prints it, to the millisecond: "1m30s", "1.5s", "500ms"."""
    if nanoseconds < 1_000_000_000:
        return f"{nanoseconds // 1_000_000}ms" if nanoseconds else "0s"
    seconds = nanoseconds / 1e9
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    text = f"{rest:g}s"
    return (f"{int(hours)}h" if hours else "") + (f"{int(minutes)}m" if hours or minutes else "") + text
