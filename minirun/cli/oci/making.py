"""The verbs of `minirun-oci` that make processes: create, run, exec."""

from __future__ import annotations

import os

from minirun.cli.grammar import Verb, many, number, switch, text
from minirun.cli.oci.call import BUNDLE, EXEC_FAILED, notify_socket
from minirun.errors import MinirunError
from minirun.kernel.trace import reason_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.oci.call import Call
    from minirun.model.spec import Spec
    from minirun.runtime.compat.sd_notify import Readiness
    from minirun.runtime.create.protocol import Cloned
    from minirun.runtime.lifecycle import CreateOptions

_PID_FILE = text("--pid-file", "File to write the process's pid to.")
_CONSOLE = text("--console-socket", "Unix socket that receives the terminal's master.")
_PIDFD = text("--pidfd-socket", "Unix socket that receives a pidfd of the process.")
_PRESERVE = number("--preserve-fds", "Pass on so many descriptors after the standard streams, as far as they are open.")
CREATE_FLAGS = (
    BUNDLE,
    _CONSOLE,
    _PID_FILE,
    _PIDFD,
    switch("--no-pivot", "Use chroot instead of pivot_root, for a root on an initramfs."),
    switch("--no-new-keyring", "Keep the caller's session keyring."),
    _PRESERVE,
    text("--config/-f", "Another file than config.json."),
    switch("--no-subreaper", "Do not become the reaper of orphans."),
)


def create(call: Call) -> None:
    """Make a container from a bundle; it waits for `start`."""
    from minirun.runtime import lifecycle

    container_id = call.container_id()
    spec = _load_spec(call)
    socket_path = call.text("console-socket")
    terminal = bool(spec.process and spec.process.terminal)
    _check_console(terminal, socket_path, detached=True)
    cloned = lifecycle.create(call.root, container_id, call.bundle(), spec, _options(call))
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
    detach = call.switch("detach")
    socket_path = call.text("console-socket")
    _check_console(bool(spec.process and spec.process.terminal), socket_path, detached=detach)
    cloned = lifecycle.create(call.root, container_id, call.bundle(), spec, _options(call))
    try:
        _hand_over(call, cloned, socket_path)
        signals = -1 if detach else open_signals()
        ready = lifecycle.start(call.root, container_id, notify_socket())
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
        if not call.switch("keep"):
            lifecycle.delete(call.root, container_id, force=True)


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
    process = exec_flags.process_of(call.values | {"args": call.arguments[1:]}, spec)
    process = process.replace(env=(*process.env, *variables))
    detach = call.switch("detach")
    socket_path = call.text("console-socket")
    _check_console(process.terminal, socket_path, detached=detach)
    cloned = lifecycle.execute(
        call.root,
        container_id,
        process,
        spec,
        lifecycle.ExecOptions(
            preserve_fds=preserve,
            ignore_paused=call.switch("ignore-paused"),
            cgroups=call.many("cgroup"),
            new_keyring=not call.switch("no-new-keyring"),
            cache_dir=f"{call.root}/.cache",
            copied_terminal=not socket_path,
        ),
    )
    signals = -1 if detach else open_signals()
    _hand_over(call, cloned, socket_path)
    return 0 if detach else _follow(cloned, socket_path, signals)


def _load_spec(call: Call) -> Spec:
    from minirun.runtime.bundle import load_spec

    spec = load_spec(call.bundle(), call.text("config") or "config.json")
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
    preserve = call.number("preserve-fds") or 0
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
        no_pivot=call.switch("no-pivot"),
        new_keyring=not call.switch("no-new-keyring"),
        preserve_fds=_inherited(call)[0],
        config=call.text("config") or "config.json",
        systemd_cgroup=call.systemd_cgroup,
        use_cgroups=call.use_cgroups,
        notify_socket=notify_socket(),
        use_cgroup_v1=True,
        copied_terminal=not call.text("console-socket"),
    )


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
    if pidfd_socket := call.text("pidfd-socket"):
        from minirun.kernel.trace import step
        from minirun.runtime.create.protocol import send_descriptor

        with step(f"send the process's pidfd to {pidfd_socket}", "exec", "It cannot come to mean another process."):
            send_descriptor(pidfd_socket, b"pidfd", cloned.pidfd)
    pid_file = call.text("pid-file")
    if pid_file:
        from minirun.kernel.hostfiles import replace

        replace(pid_file, str(cloned.pid))


def _follow(cloned: Cloned, socket_path: str, signals: int, ready: Readiness | None = None) -> int:
    from minirun.runtime.compat import foreground

    return foreground.follow(cloned.pid, -1 if socket_path else cloned.console, signals, ready)


VERBS = {
    "create": Verb(create, CREATE_FLAGS, "ID"),
    "run": Verb(
        run,
        (
            *CREATE_FLAGS,
            switch("--detach/-d", "Return once the container runs."),
            switch("--keep", "Do not remove the container at its end."),
        ),
        "ID",
    ),
    "exec": Verb(
        exec_,
        (
            _CONSOLE,
            _PID_FILE,
            _PIDFD,
            _PRESERVE,
            text("--process/-p", "File with the process as JSON."),
            text("--cwd", "Working directory."),
            many("--env/-e", "NAME=VALUE to add to the environment."),
            switch("--tty/-t", "Give it a terminal."),
            text("--user/-u", "UID[:GID]."),
            many("--additional-gids/-g", "Further group."),
            switch("--detach/-d", "Return once the process runs."),
            many("--cap/-c", "Capability to add."),
            switch("--no-new-privs", "Set no_new_privs."),
            text("--process-label", "SELinux label."),
            text("--apparmor", "AppArmor profile."),
            many("--cgroup", "Sub-cgroup to run in: PATH, or CONTROLLER,...:PATH for hierarchies of cgroup v1."),
            switch("--ignore-paused", "Allow it in a paused container."),
            switch("--no-new-keyring", "Keep the caller's session keyring."),
            switch("--no-subreaper", "Do not become the reaper of orphans."),
        ),
        "ID [COMMAND...]",
        interspersed=False,
    ),
}
