"""`minirun-oci`: the runtime core with runc's command line, for Docker, Podman, containerd and their shims.

The table VERBS says which module of this package has a verb: its function, which calls `runtime.lifecycle`, and its
flags. Errors are reported twice, as callers expect: on standard error, and as a line of `--log` (JSON with
`--log-format json`).
"""

from __future__ import annotations

import gc
import os
import sys

from minirun import __version__
from minirun.cli import interrupts, streams
from minirun.cli.grammar import GO, parse, switch, text
from minirun.cli.oci.call import EXEC_FAILED, Call
from minirun.errors import MinirunError, tell
from minirun.kernel import hostfiles
from minirun.kernel.trace import reason_of
from minirun.model import jsontext
from minirun.model.oci_version import OCI_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from minirun.cli.grammar import Parsed, Verb
    from minirun.kernel.trace import Event

DEFAULT_ROOT = "/run/minirun/oci"
ABILITIES = "+SYSTEMD +SELINUX +APPARMOR +CAP +SECCOMP +EBPF"  # in the words of crun's --version, for its callers

GLOBAL_FLAGS = (
    text("--root", "Directory for the state of containers."),
    text("--log", "File to log to, PATH or file:PATH."),
    text("--log-format", "Format of the log: text or json."),
    switch("--debug", "Log each operation, and show a traceback when something fails."),
    switch("--systemd-cgroup", "Have systemd make the cgroups; cgroupsPath is slice:prefix:name."),
    text("--cgroup-manager", "cgroupfs, systemd or disabled."),
    text("--rootless", "true, false or auto; minirun finds out by itself."),
    text("--criu", "Accepted and ignored: there is no checkpoint."),
    switch("--version/-v", "Print the version."),
    switch("--help/-h", "Print this."),
)
HELP = switch("--help/-h", "Print this.")
# In the order of --help: the module of this package that has the verb.
VERBS = {
    "create": "create",
    "start": "start",
    "run": "create",
    "state": "state",
    "kill": "kill",
    "delete": "delete",
    "exec": "exec",
    "list": "state",
    "ps": "state",
    "pause": "kill",
    "resume": "kill",
    "events": "state",
    "update": "update",
    "spec": "spec",
    "features": "spec",
    "checkpoint": "checkpoint",
    "restore": "checkpoint",
}


def main() -> NoReturn:
    """Run one call and exit with its code."""
    streams.complete()
    gc.disable()  # a call ends before there is garbage worth a millisecond of looking for it
    interrupts.exit_after(_run)


def _run() -> int:
    log = None
    debug = False
    try:
        globals_ = parse(sys.argv[1:], GLOBAL_FLAGS, GO, interspersed=False)
        debug = globals_.switch("debug")
        log = _Log(globals_.text("log"), globals_.text("log-format", "text"))
        if debug:
            log.tell_operations()
        code = _call(globals_)
        sys.stdout.flush()
        return code
    except Exception as error:  # noqa: BLE001 - callers read the log, whatever it was
        return _code_of(error, log or _log_of_wrong_line(sys.argv[1:]), debug=debug)


def _log_of_wrong_line(words: list[str]) -> _Log:
    """Return the log that a line names before what is wrong with it; one without a file if there is none."""
    for end in range(len(words), 0, -1):
        try:
            return _Log(parse(words[:end], GLOBAL_FLAGS, GO, interspersed=False).text("log"), "text")
        except (MinirunError, OSError):
            continue
    return _Log("", "text")


def _code_of(error: Exception, log: _Log, *, debug: bool) -> int:
    """Report the error that ended a call and return the exit code."""
    from minirun.cli.errors import SIGPIPE, tell_traceback

    if isinstance(error, BrokenPipeError) and streams.output_is_unread():
        return 128 + SIGPIPE
    failure = _as_failure(error)
    log.failure(failure)
    if debug:
        tell_traceback(error)
    return failure.exit_code


def _as_failure(error: Exception) -> MinirunError:
    """Return an error in the form in which it is reported, with the exit code 1 unless the verb has another."""
    if isinstance(error, MinirunError):
        return MinirunError(error.message, error.hint, error.exit_code if error.exit_code == EXEC_FAILED else 1)
    if isinstance(error, OSError):
        where = "standard output: " if streams.output_fails() else ""
        return MinirunError(f"{where}{reason_of(error)}", "", 1)
    return MinirunError(f"internal error: {type(error).__name__}: {error}", "--debug shows where.", 1)


class _Log:
    """Where failures are reported: standard error, and the file that the caller reads.

    Raises MinirunError or OSError for a log that cannot be written.
    """

    def __init__(self, path: str, form: str) -> None:
        if form not in ("text", "json"):
            raise MinirunError(f"invalid log format '{form}'", "Use text or json.")
        if path.startswith(("journald:", "syslog:")):
            raise MinirunError(f"cannot log to {path}", "minirun-oci logs to a file: --log PATH.")
        self._path = path.removeprefix("file:")
        self._form = form
        if self._path:
            os.close(hostfiles.open_to_append(self._path, 0o644))

    def failure(self, error: MinirunError) -> None:
        """Report an error, first in the log, where the caller looks for it: standard error may not be writable."""
        if self._path:
            try:
                hostfiles.write_all(hostfiles.open_to_append(self._path, 0o644), self._line("error", error.message))
            except OSError:
                pass  # the caller has the exit code and standard error
        tell(f"minirun-oci: {error.message}", *([f"hint: {error.hint}"] if error.hint else []))

    def tell_operations(self) -> None:
        """From here on log each operation of this process, and of those that it forks."""
        from minirun.kernel.trace import set_tracer

        # In the container, 2 will be another one.
        file = hostfiles.open_to_append(self._path, 0o644) if self._path else os.dup(2)

        def tell(event: Event) -> None:
            steps = "".join(f"{title}: " for title, _, _ in event.steps)
            arguments = ", ".join(f"{name}={value}" for name, value in event.arguments.items())
            outcome = f" = {event.error or event.result}" if event.error or event.result else ""
            line = self._line("debug", f"{event.process}: {steps}{event.operation}({arguments}){outcome}")
            try:
                hostfiles.write_all(file, line)
            except OSError:
                pass  # a log that cannot be written must not keep the container from being made

        set_tracer(tell)

    def _line(self, level: str, message: str) -> bytes:
        import time

        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._form == "json":
            return f"{jsontext.dumps({'level': level, 'msg': message, 'time': now})}\n".encode()
        return f"time={jsontext.dumps(now)} level={level} msg={jsontext.dumps(message)}\n".encode()


def _call(globals_: Parsed) -> int:
    if globals_.switch("version"):
        print(f"minirun-oci version {__version__}\ncommit: {__version__}\nspec: {OCI_VERSION}\n{ABILITIES}")
        return 0
    name, *rest = globals_.arguments or ("help",)
    if globals_.switch("help") or name in ("", "help"):
        from minirun.cli.oci.usage import usage

        # Scripts look for the words of runc's help.
        summary = "the command line of runc - Open Container Initiative runtime - on minirun's core"
        print(usage("minirun-oci", "VERB ...", summary, GLOBAL_FLAGS, {name: _verb(name) for name in VERBS}))
        return 0
    if name not in VERBS:
        raise MinirunError(f"No help topic for '{name}': there is no such verb", "minirun-oci --help lists them.")
    verb = _verb(name)
    parsed = parse(rest, (*verb.flags, HELP), GO, interspersed=verb.interspersed)
    if parsed.switch("help"):
        from minirun.cli.oci.usage import usage

        summary = f"as runc {name}: {verb.function.__doc__}"
        print(usage(f"minirun-oci {name}", verb.arguments, summary, verb.flags))
        return 0
    least, most = verb.argument_counts
    if least == most and len(parsed.arguments) != least:
        raise MinirunError(f'"{name}" requires exactly {least} argument(s)', f"minirun-oci {name} --help says more.")
    manager = globals_.text("cgroup-manager", "systemd" if globals_.switch("systemd-cgroup") else "cgroupfs")
    if manager not in ("cgroupfs", "systemd", "disabled"):
        raise MinirunError(f"unknown cgroup manager '{manager}'", "Use cgroupfs, systemd or disabled.")
    root = os.path.abspath(globals_.text("root") or _default_root())
    interrupts.catch()
    call = Call(parsed.values, parsed.arguments, root, manager == "systemd", manager != "disabled")
    return verb.function(call) or 0


def _verb(name: str) -> Verb:
    """Import the module of a verb, and none of the others, and return it."""
    # Not importlib, which takes longer to import than most verbs.
    found: Verb = __import__(f"minirun.cli.oci.{VERBS[name]}", fromlist=("VERBS",)).VERBS[name]
    return found


def _default_root() -> str:
    """Return the directory for state: users other than the machine's root have one of their own."""
    from minirun.runtime.rootless import user_directory

    own = user_directory()
    return f"{own}/minirun/oci" if own else DEFAULT_ROOT
