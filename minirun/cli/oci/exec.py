"""The verb `exec` of `minirun-oci`: a further process in a container."""

from __future__ import annotations

from minirun.cli.grammar import Verb, many, switch, text
from minirun.cli.oci.call import EXEC_FAILED
from minirun.cli.oci.descriptors import CONSOLE, PID_FILE, PIDFD, PRESERVE, check_console, follow, hand_over, inherited
from minirun.errors import MinirunError
from minirun.kernel.trace import reason_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.oci.call import Call


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
    preserve, variables = inherited(call)
    process = exec_flags.process_of(call.values | {"args": call.arguments[1:]}, spec)
    process = process.replace(env=(*process.env, *variables))
    detach = call.switch("detach")
    socket_path = call.text("console-socket")
    check_console(process.terminal, socket_path, detached=detach)
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
    hand_over(call, cloned, socket_path)
    return 0 if detach else follow(cloned, socket_path, signals)


VERBS = {
    "exec": Verb(
        exec_,
        (
            CONSOLE,
            PID_FILE,
            PIDFD,
            PRESERVE,
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
