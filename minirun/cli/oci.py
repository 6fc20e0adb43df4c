"""`minirun-oci`: the runtime core with runc's command line, for Docker, Podman, containerd and their shims.

Each verb is a function below that reads its flags and calls `runtime.lifecycle`; the table VERBS lists them. What
fails is told twice, as callers expect: in words on standard error, and as a line of `--log` (JSON with `--log-format
json`).
"""

from __future__ import annotations

import gc
import os
import sys

from minirun import __version__
from minirun.cli import interrupts, streams
from minirun.cli.flags import Flag, Parsed, parse, usage
from minirun.errors import MinirunError, tell
from minirun.kernel.trace import reason_of
from minirun.model import jsontext
from minirun.model.oci_version import OCI_VERSION
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from minirun.kernel.trace import Event
    from minirun.model.spec import Spec
    from minirun.runtime.compat.sd_notify import Readiness
    from minirun.runtime.create.protocol import Cloned
    from minirun.runtime.lifecycle import CreateOptions

DEFAULT_ROOT = "/run/minirun/oci"
EXEC_FAILED = 255  # what `exec` exits with when there is no process whose exit code it could be
ABILITIES = "+SYSTEMD +SELINUX +APPARMOR +CAP +SECCOMP +EBPF"  # in the words of crun's --version, for its callers

GLOBAL_FLAGS = (
    Flag(("root",), "Directory for the state of containers."),
    Flag(("log",), "File to log to, PATH or file:PATH."),
    Flag(("log-format",), "Format of the log: text or json."),
    Flag(("debug",), "Log each operation, and show a traceback when something fails.", "switch"),
    Flag(("systemd-cgroup",), "Have systemd make the cgroups; cgroupsPath is slice:prefix:name.", "switch"),
    Flag(("cgroup-manager",), "cgroupfs, systemd or disabled."),
    Flag(("rootless",), "true, false or auto; minirun finds out by itself."),
    Flag(("criu",), "Accepted and ignored: there is no checkpoint.", "text"),
    Flag(("version", "v"), "Print the version.", "switch"),
    Flag(("help", "h"), "Print this.", "switch"),
)
HELP = Flag(("help", "h"), "Print this.", "switch")

_BUNDLE = Flag(("bundle", "b"), "Directory of the bundle (default: the current one).")
_PID_FILE = Flag(("pid-file",), "File to write the process's pid to.")
_CONSOLE = Flag(("console-socket",), "Unix socket that receives the terminal's master.")
_PIDFD = Flag(("pidfd-socket",), "Unix socket that receives a pidfd of the process.")
_PRESERVE = Flag(("preserve-fds",), "Pass on so many descriptors after the standard streams, as far as they are open.")
_CREATE = (
    _BUNDLE,
    _CONSOLE,
    _PID_FILE,
    _PIDFD,
    Flag(("no-pivot",), "Use chroot instead of pivot_root, for a root on an initramfs.", "switch"),
    Flag(("no-new-keyring",), "Keep the caller's session keyring.", "switch"),
    _PRESERVE,
    Flag(("config", "f"), "Another file than config.json."),
    Flag(("no-subreaper",), "Do not become the reaper of orphans.", "switch"),
)


class Call(Record):
    """One call: the global flags' meaning and the verb's own."""

    root: str
    systemd_cgroup: bool
    use_cgroups: bool
    parsed: Parsed

    def container_id(self) -> str:
        """Return the first argument. Raises MinirunError if there is none or it is not fit to be one."""
        if not self.parsed.arguments or not self.parsed.arguments[0]:
            raise MinirunError("container id cannot be empty")
        container_id = self.parsed.arguments[0]
        allowed = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")
        if not allowed.issuperset(container_id) or container_id in (".", ".."):
            wrong = next((letter for letter in container_id if letter not in allowed), container_id)
            problem = f"invalid container ID format: '{container_id}': invalid character `{wrong}` in the ID"
            raise MinirunError(problem, "Use letters, digits and _ + - .")
        return container_id


def main() -> NoReturn:
    """Run one call and exit with its code."""
    streams.complete()
    gc.disable()  # a call ends before there is garbage worth a millisecond of looking for it
    interrupts.exit_after(_run)


def _run() -> int:
    log = _Log("", "text")
    debug = False
    try:
        globals_, verb, rest = _split(sys.argv[1:])
        debug = globals_.switch("debug")
        log = _Log(globals_.text("log"), globals_.text("log-format", "text"))
        if debug:
            log.tell_operations()
        code = _call(globals_, verb, rest)
        sys.stdout.flush()
        return code
    except Exception as error:  # noqa: BLE001 - callers read the log, whatever it was
        return _code_of(error, log, debug=debug)


def _code_of(error: Exception, log: _Log, *, debug: bool) -> int:
    """Tell what ended a call and return the exit code."""
    from minirun.cli.errors import SIGPIPE, tell_traceback

    if isinstance(error, BrokenPipeError) and streams.output_is_unread():
        return 128 + SIGPIPE
    failure = _as_failure(error)
    log.failure(failure)
    if debug:
        tell_traceback(error)
    return failure.exit_code


def _as_failure(error: Exception) -> MinirunError:
    """Return an error as it is told, with the exit code 1 unless the verb has another."""
    if isinstance(error, MinirunError):
        return MinirunError(error.message, error.hint, error.exit_code if error.exit_code == EXEC_FAILED else 1)
    if isinstance(error, OSError):
        where = "standard output: " if streams.output_fails() else ""
        return MinirunError(f"{where}{reason_of(error)}", "", 1)
    return MinirunError(f"internal error: {type(error).__name__}: {error}", "--debug shows where.", 1)


class _Log:
    """Where failures are told: standard error, and the file that the caller reads.

    Raises MinirunError or OSError for a log that nothing could be told to.
    """

    def __init__(self, path: str, form: str) -> None:
        if form not in ("text", "json"):
            raise MinirunError(f"invalid log format '{form}'", "Use text or json.")
        if path.startswith(("journald:", "syslog:")):
            raise MinirunError(f"cannot log to {path}", "minirun-oci logs to a file: --log PATH.")
        self._path = path.removeprefix("file:")
        self._form = form
        if self._path:
            os.close(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644))

    def failure(self, error: MinirunError) -> None:
        """Tell an error, first where the caller looks for it: standard error may be one that cannot be written."""
        if self._path:
            try:
                with open(self._path, "ab") as file:
                    file.write(self._line("error", error.message))
            except OSError:
                pass  # the caller has the exit code and standard error
        tell(f"minirun-oci: {error.message}", *([f"hint: {error.hint}"] if error.hint else []))

    def tell_operations(self) -> None:
        """From here on tell each operation that the kernel is asked for, by this process or by one that it forks."""
        from minirun.kernel.trace import set_tracer

        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        file = os.open(self._path, flags) if self._path else os.dup(2)  # in the container, 2 will be another one

        def tell(event: Event) -> None:
            steps = "".join(f"{title}: " for title, _, _ in event.steps)
            arguments = ", ".join(f"{name}={value}" for name, value in event.arguments.items())
            outcome = f" = {event.error or event.result}" if event.error or event.result else ""
            line = self._line("debug", f"{event.process}: {steps}{event.operation}({arguments}){outcome}")
            try:
                os.write(file, line)
            except OSError:
                pass  # the container is made also where nobody can be told how

        set_tracer(tell)

    def _line(self, level: str, message: str) -> bytes:
        import time

        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._form == "json":
            return f"{jsontext.dumps({'level': level, 'msg': message, 'time': now})}\n".encode()
        return f"time={jsontext.dumps(now)} level={level} msg={jsontext.dumps(message)}\n".encode()


def _split(words: list[str]) -> tuple[Parsed, str, list[str]]:
    parsed = parse(words, GLOBAL_FLAGS, interspersed=False)
    verb, *rest = parsed.arguments or ("",)
    return parsed, verb, list(rest)


def _call(globals_: Parsed, verb: str, rest: list[str]) -> int:
    if globals_.switch("version"):
        print(f"minirun-oci version {__version__}\ncommit: {__version__}\nspec: {OCI_VERSION}\n{ABILITIES}")
        return 0
    if not verb or globals_.switch("help") or verb == "help":
        # Scripts look for the words of runc's help.
        summary = "the command line of runc - Open Container Initiative runtime - on minirun's core"
        print(usage("minirun-oci", "VERB ...", summary, GLOBAL_FLAGS, _verbs_and_summaries()))
        return 0
    if verb not in VERBS:
        raise MinirunError(f"No help topic for '{verb}': there is no such verb", "minirun-oci --help lists them.")
    function, flags, arguments, interspersed = VERBS[verb]
    parsed = parse(rest, (*flags, HELP), interspersed=interspersed)
    if parsed.switch("help"):
        print(usage(f"minirun-oci {verb}", arguments, f"as runc {verb}: {function.__doc__}", flags))
        return 0
    expected = {"": 0, "ID": 1}.get(arguments)
    if expected is not None and len(parsed.arguments) != expected:
        raise MinirunError(f'"{verb}" requires exactly {expected} argument(s)', f"minirun-oci {verb} --help says more.")
    manager = globals_.text("cgroup-manager", "systemd" if globals_.switch("systemd-cgroup") else "cgroupfs")
    if manager not in ("cgroupfs", "systemd", "disabled"):
        raise MinirunError(f"unknown cgroup manager '{manager}'", "Use cgroupfs, systemd or disabled.")
    root = os.path.abspath(globals_.text("root") or _default_root())
    interrupts.catch()
    return function(Call(root, manager == "systemd", manager != "disabled", parsed)) or 0


def _verbs_and_summaries() -> list[tuple[str, str]]:
    return [(verb, function.__doc__ or "") for verb, (function, *_) in VERBS.items()]


def _default_root() -> str:
    """Return the directory for state: who is not root, or root of a user namespace only, has one of their own."""
    from minirun.runtime.state import user_directory

    own = user_directory()
    return f"{own}/minirun/oci" if own else DEFAULT_ROOT


# -- the verbs --------------------------------------------------------------------------------------------------------


def create(call: Call) -> None:
    """Make a container from a bundle; it waits for `start`."""
    from minirun.runtime import lifecycle

    container_id = call.container_id()
    spec = _load_spec(call)
    socket_path = call.parsed.text("console-socket")
    terminal = bool(spec.process and spec.process.terminal)
    _check_console(terminal, socket_path, detached=True)
    cloned = lifecycle.create(call.root, container_id, _bundle(call), spec, _options(call))
    try:
        _hand_over(call, cloned, socket_path)
    except BaseException:
        lifecycle.delete(call.root, container_id, force=True)
        raise


def run(call: Call) -> int:
    """Make and start a container; without --detach wait for its end and remove it."""
    from minirun.kernel.process import open_signals
    from minirun.runtime import lifecycle

    container_id = call.container_id()
    spec = _load_spec(call)
    detach = call.parsed.switch("detach")
    socket_path = call.parsed.text("console-socket")
    _check_console(bool(spec.process and spec.process.terminal), socket_path, detached=detach)
    cloned = lifecycle.create(call.root, container_id, _bundle(call), spec, _options(call))
    try:
        _hand_over(call, cloned, socket_path)
        signals = -1 if detach else open_signals()
        ready = lifecycle.start(call.root, container_id, _notify_socket())
    except BaseException:
        lifecycle.delete(call.root, container_id, force=True)
        raise
    if detach:
        if ready:
            ready.wait(cloned.pid)
        return 0
    try:
        return _follow(cloned, socket_path, signals, ready)
    finally:
        if not call.parsed.switch("keep"):
            lifecycle.delete(call.root, container_id, force=True)


def start(call: Call) -> None:
    """Let a created container execute its command."""
    from minirun.runtime import lifecycle

    ready = lifecycle.start(call.root, call.container_id(), _notify_socket())
    if ready:
        ready.wait(lifecycle.load(call.root, call.container_id())[0].pid)


def state(call: Call) -> None:
    """Print a container's state as JSON."""
    from minirun.runtime.compat import state_output

    print(jsontext.dumps_for_people(state_output.of_container(call.root, call.container_id())))


def kill(call: Call) -> None:
    """Send a signal (default TERM) to a container's first process, or with --all to every process."""
    from minirun.model.signals import parse_signal
    from minirun.runtime import lifecycle

    word = call.parsed.arguments[1] if len(call.parsed.arguments) > 1 else "TERM"
    number = 0 if word == "0" else parse_signal(word)  # 0 only asks whether it runs
    if call.parsed.switch("all"):
        lifecycle.kill_all(call.root, call.container_id(), number)
    else:
        lifecycle.kill(call.root, call.container_id(), number)


def delete(call: Call) -> None:
    """Remove what is left of a container; with --force kill it first, and do not mind if it is gone."""
    from minirun.runtime import lifecycle

    force = call.parsed.switch("force")
    if not call.parsed.switch("regex"):
        lifecycle.delete(call.root, call.container_id(), force=force)
        return
    from minirun.runtime.compat import state_output

    for container_id in state_output.matching(call.root, call.parsed.arguments[0]):
        lifecycle.delete(call.root, container_id, force=force)


def pause(call: Call) -> None:
    """Freeze every process of a container."""
    from minirun.runtime import lifecycle

    lifecycle.pause(call.root, call.container_id())


def resume(call: Call) -> None:
    """Let a paused container go on."""
    from minirun.runtime import lifecycle

    lifecycle.resume(call.root, call.container_id())


def exec_(call: Call) -> int:
    """Run a further process in a container."""
    try:
        return _exec(call)
    except MinirunError as error:
        raise MinirunError(f"exec failed: {error.message}", error.hint, EXEC_FAILED) from error
    except OSError as error:
        raise MinirunError(f"exec failed: {reason_of(error)}", "", EXEC_FAILED) from error


def _exec(call: Call) -> int:
    from minirun.kernel.process import open_signals
    from minirun.runtime import lifecycle
    from minirun.runtime.compat import exec_flags

    container_id = call.container_id()
    _, spec = lifecycle.load(call.root, container_id)
    preserve, variables = _inherited(call)
    process = exec_flags.process_of(_exec_changes(call.parsed), spec)
    process = process.replace(env=(*process.env, *variables))
    detach = call.parsed.switch("detach")
    socket_path = call.parsed.text("console-socket")
    _check_console(process.terminal, socket_path, detached=detach)
    cloned = lifecycle.execute(
        call.root,
        container_id,
        process,
        spec,
        lifecycle.ExecOptions(
            preserve_fds=preserve,
            ignore_paused=call.parsed.switch("ignore-paused"),
            cgroups=tuple(call.parsed.lists.get("cgroup", ())),
            new_keyring=not call.parsed.switch("no-new-keyring"),
            cache_dir=f"{call.root}/.cache",
            copied_terminal=not socket_path,
        ),
    )
    signals = -1 if detach else open_signals()
    _hand_over(call, cloned, socket_path)
    return 0 if detach else _follow(cloned, socket_path, signals)


def list_(call: Call) -> None:
    """List the containers below --root."""
    from minirun.runtime.compat import state_output

    print(
        state_output.listing(call.root, call.parsed.text("format", "table"), quiet=call.parsed.switch("quiet")), end=""
    )


def ps(call: Call) -> None:
    """List the processes of a container: as a table of ps(1), or with --format json their pids."""
    from minirun.runtime import lifecycle
    from minirun.runtime.compat import state_output

    pids = lifecycle.processes(call.root, call.container_id())
    form = call.parsed.text("format", "table")
    if form not in ("table", "json"):
        raise MinirunError("invalid format option", "Use table or json.")
    if form == "json":
        print(jsontext.dumps(pids))
    else:
        print(state_output.process_table(pids, call.parsed.arguments[1:]), end="")


def events(call: Call) -> None:
    """Print a container's counters, every --interval, or once with --stats."""
    from minirun.runtime.cgroup import stats

    stats.follow(
        call.root, call.container_id(), once=call.parsed.switch("stats"), interval=call.parsed.text("interval", "5s")
    )


def update(call: Call) -> None:
    """Change a container's limits, by single flags or by a JSON of linux.resources."""
    from minirun.runtime import lifecycle
    from minirun.runtime.compat import update_flags

    flags = call.parsed.texts
    lifecycle.update(
        call.root, call.container_id(), update_flags.of_flags(flags), schemata=update_flags.schemata_of_flags(flags)
    )


def spec(call: Call) -> None:
    """Write a template of config.json into the bundle."""
    from minirun.runtime.compat import spec_template

    spec_template.write(_bundle(call), rootless=call.parsed.switch("rootless"))


def features(call: Call) -> None:  # noqa: ARG001 - every verb takes the call
    """Print what this runtime can do (runtime-spec features.md)."""
    from minirun.runtime.compat import features as features_

    print(jsontext.dumps_for_people(features_.document()))


def checkpoint(call: Call) -> None:  # noqa: ARG001
    """Refused: minirun cannot freeze a container to disk."""
    raise MinirunError("checkpoint and restore are not supported", "minirun has no CRIU.")


# -- what several verbs share -----------------------------------------------------------------------------------------


def _bundle(call: Call) -> str:
    return os.path.abspath(call.parsed.text("bundle") or ".")


def _load_spec(call: Call) -> Spec:
    from minirun.runtime import lifecycle

    spec = lifecycle.load_spec(_bundle(call), call.parsed.text("config") or "config.json")
    variables = _inherited(call)[1]
    if not variables or spec.process is None:
        return spec
    return spec.replace(process=spec.process.replace(env=(*spec.process.env, *variables)))


def _inherited(call: Call) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return which descriptors after 2 the command gets, and the variables that tell it of sockets among them.

    --preserve-fds counts those after the sockets that systemd has passed to this process (sd_listen_fds(3)). Who calls
    by hand sets LISTEN_FDS alone, not knowing this process's pid.
    """
    sockets, variables = 0, []
    count = os.environ.get("LISTEN_FDS", "")
    own_pid = str(os.getpid())
    if count.isdecimal() and os.environ.get("LISTEN_PID", own_pid) == own_pid:
        sockets = int(count)
        variables = [f"LISTEN_FDS={sockets}", "LISTEN_PID=1"]
        if "LISTEN_FDNAMES" in os.environ:
            variables.append(f"LISTEN_FDNAMES={os.environ['LISTEN_FDNAMES']}")
    preserve = call.parsed.number("preserve-fds", 0) or 0
    return tuple(fd for fd in range(3, 3 + sockets + preserve) if _came_by_exec(fd)), tuple(variables)


def _came_by_exec(fd: int) -> bool:
    """Say whether the caller has left this descriptor open for us; all that minirun opens itself are close-on-exec."""
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


def _options(call: Call) -> CreateOptions:
    from minirun.runtime.lifecycle import CreateOptions

    return CreateOptions(
        cache_dir=f"{call.root}/.cache",
        no_pivot=call.parsed.switch("no-pivot"),
        new_keyring=not call.parsed.switch("no-new-keyring"),
        preserve_fds=_inherited(call)[0],
        config=call.parsed.text("config") or "config.json",
        systemd_cgroup=call.systemd_cgroup,
        use_cgroups=call.use_cgroups,
        notify_socket=_notify_socket(),
        use_cgroup_v1=True,
        copied_terminal=not call.parsed.text("console-socket"),
    )


def _notify_socket() -> str:
    return os.environ.get("NOTIFY_SOCKET", "")


def _check_console(terminal: bool, socket_path: str, *, detached: bool) -> None:
    if terminal and detached and not socket_path:
        problem = "cannot allocate tty if runc will detach without setting console socket"
        raise MinirunError(problem, "Who does not stay must use --console-socket to be given the terminal.")
    if socket_path and not terminal:
        raise MinirunError("cannot use console socket if runc will not detach or allocate tty")


def _hand_over(call: Call, cloned: Cloned, socket_path: str) -> None:
    """Give the caller what it waits for: the terminal's master and the pid file, which is there before we return."""
    if socket_path and cloned.console >= 0:
        from minirun.runtime.process import console

        console.send_master(socket_path, cloned.console)
    if pidfd_socket := call.parsed.text("pidfd-socket"):
        from minirun.kernel.trace import step
        from minirun.runtime.create.protocol import send_descriptor

        with step(f"send the process's pidfd to {pidfd_socket}", "exec", "It cannot come to mean another process."):
            send_descriptor(pidfd_socket, b"pidfd", cloned.pidfd)
    pid_file = call.parsed.text("pid-file")
    if pid_file:
        with open(f"{pid_file}.new", "w", encoding="ascii") as file:
            file.write(str(cloned.pid))
        os.rename(f"{pid_file}.new", pid_file)


def _follow(cloned: Cloned, socket_path: str, signals: int, ready: Readiness | None = None) -> int:
    from minirun.runtime.compat import foreground

    return foreground.follow(cloned.pid, -1 if socket_path else cloned.console, signals, ready)


def _exec_changes(parsed: Parsed) -> dict[str, Any]:
    changes: dict[str, Any] = dict(parsed.texts) | parsed.lists | parsed.switches
    changes["args"] = list(parsed.arguments[1:])
    return changes


# Read so that who asks for it is told that there is none, rather than that a flag is wrong.
_CHECKPOINT = (
    *_CREATE,
    *(
        Flag((name,), "Accepted and ignored: there is no checkpoint.")
        for name in (
            "image-path work-path parent-path page-server status-fd manage-cgroups-mode empty-ns lsm-profile "
            "lsm-mount-context"
        ).split()
    ),
    *(
        Flag((name,), "Accepted and ignored: there is no checkpoint.", "switch")
        for name in (
            "leave-running tcp-established ext-unix-sk shell-job lazy-pages file-locks pre-dump auto-dedup "
            "tcp-skip-in-flight link-remap"
        ).split()
    ),
    Flag(("detach", "d"), "Accepted and ignored: there is no checkpoint.", "switch"),
)
_SIZES = "such as 512m; -1 is unlimited"
VERBS: dict[str, tuple[Callable[[Call], int | None], tuple[Flag, ...], str, bool]] = {
    "create": (create, _CREATE, "ID", True),
    "start": (start, (), "ID", True),
    "run": (
        run,
        (
            *_CREATE,
            Flag(("detach", "d"), "Return once the container runs.", "switch"),
            Flag(("keep",), "Do not remove the container at its end.", "switch"),
        ),
        "ID",
        True,
    ),
    "state": (state, (), "ID", True),
    "kill": (kill, (Flag(("all", "a"), "Every process of the container.", "switch"),), "ID [SIGNAL]", True),
    "delete": (
        delete,
        (
            Flag(("force", "f"), "Kill first; do not mind if it is gone.", "switch"),
            Flag(("regex",), "Delete all containers whose id the regular expression ID matches.", "switch"),
        ),
        "ID",
        True,
    ),
    "exec": (
        exec_,
        (
            _CONSOLE,
            _PID_FILE,
            _PIDFD,
            _PRESERVE,
            Flag(("process", "p"), "File with the process as JSON."),
            Flag(("cwd",), "Working directory."),
            Flag(("env", "e"), "NAME=VALUE to add to the environment.", "list"),
            Flag(("tty", "t"), "Give it a terminal.", "switch"),
            Flag(("user", "u"), "UID[:GID]."),
            Flag(("additional-gids", "g"), "Further group.", "list"),
            Flag(("detach", "d"), "Return once the process runs.", "switch"),
            Flag(("cap", "c"), "Capability to add.", "list"),
            Flag(("no-new-privs",), "Set no_new_privs.", "switch"),
            Flag(("process-label",), "SELinux label."),
            Flag(("apparmor",), "AppArmor profile."),
            Flag(
                ("cgroup",), "Sub-cgroup to run in: PATH, or CONTROLLER,...:PATH for hierarchies of cgroup v1.", "list"
            ),
            Flag(("ignore-paused",), "Allow it in a paused container.", "switch"),
            Flag(("no-new-keyring",), "Keep the caller's session keyring.", "switch"),
            Flag(("no-subreaper",), "Do not become the reaper of orphans.", "switch"),
        ),
        "ID [COMMAND...]",
        False,
    ),
    "list": (
        list_,
        (Flag(("format", "f"), "table or json."), Flag(("quiet", "q"), "Ids only.", "switch")),
        "",
        True,
    ),
    "ps": (ps, (Flag(("format", "f"), "table or json."),), "ID [PS OPTIONS]", False),
    "pause": (pause, (), "ID", True),
    "resume": (resume, (), "ID", True),
    "events": (
        events,
        (
            Flag(("interval",), "Time between two readings (5s)."),
            Flag(("stats",), "Print one reading and end.", "switch"),
        ),
        "ID",
        True,
    ),
    "update": (
        update,
        (
            Flag(("resources", "r"), "File with linux.resources as JSON, or - for standard input."),
            Flag(("memory",), f"Memory limit, {_SIZES}."),
            Flag(("memory-reservation",), f"Protected memory, {_SIZES}."),
            Flag(("memory-swap",), f"Memory and swap together, {_SIZES}."),
            Flag(("kernel-memory",), "Obsolete; ignored by the kernel."),
            Flag(("kernel-memory-tcp",), "Obsolete; ignored by the kernel."),
            Flag(("cpu-period",), "CFS period in microseconds."),
            Flag(("cpu-quota",), "CFS quota in microseconds."),
            Flag(("cpu-burst",), "CFS burst in microseconds."),
            Flag(("cpu-share", "cpu-shares"), "Relative weight, 2 to 262144."),
            Flag(("cpu-rt-period",), "Real-time period in microseconds; cgroup v1 only."),
            Flag(("cpu-rt-runtime",), "Real-time runtime in microseconds; cgroup v1 only."),
            Flag(("cpu-idle",), "1: run only when nothing else does."),
            Flag(("cpuset-cpus",), "CPUs to run on."),
            Flag(("cpuset-mems",), "Memory nodes to use."),
            Flag(("pids-limit",), "Most processes; -1 is unlimited."),
            Flag(("blkio-weight",), "Weight of block input and output, 10 to 1000."),
            Flag(("l3-cache-schema",), "Intel RDT: parts of the L3 cache, such as L3:0=7f0;1=1f."),
            Flag(("mem-bw-schema",), "Intel RDT: bandwidth of the memory, such as MB:0=20;1=70."),
        ),
        "ID",
        True,
    ),
    "spec": (spec, (_BUNDLE, Flag(("rootless",), "For a user without root.", "switch")), "", True),
    "features": (features, (), "", True),
    "checkpoint": (checkpoint, _CHECKPOINT, "ID", True),
    "restore": (checkpoint, _CHECKPOINT, "ID", True),
}
