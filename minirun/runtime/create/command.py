"""The last of Python: from a process that stands in its container to native/exec_stub.c, which becomes the command."""

from __future__ import annotations

import os
import sys

from minirun.errors import MinirunError
from minirun.kernel.files import change_owner_of_open
from minirun.kernel.path import change_directory, read_file_in_root
from minirun.kernel.privilege import set_parent_death_signal
from minirun.kernel.process import exec_file_descriptor, memory_file, set_personality, set_umask
from minirun.kernel.trace import step, trace_descriptor, tracing
from minirun.model.record import Record
from minirun.runtime.create.init_plan import Inherited, Label, pack_plan
from minirun.runtime.create.protocol import LIMITS, LIMITS_SET
from minirun.runtime.process import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from minirun.model.spec import Process
    from minirun.runtime.create.child import ChildPlan
    from minirun.runtime.create.protocol import Channel


class Birth(Record):
    """What it takes to make the command's process in another PID namespace than this one's: see native/birth.c.

    Inherited, -1 where there is none: `page` for its pid, `gate` to wait on for its priorities, `reports` for what it
    has to say, `state` with the container's state for hooks, `attribute` for its `label`.
    """

    page: int
    gate: int
    reports: int
    state: int
    attribute: int
    label: Label


def become_command(
    plan: ChildPlan, slave: int, channel: Channel, *, keep_groups: bool, birth: Birth | None = None
) -> NoReturn:
    """Hand over to native/exec_stub.c, which gives up privileges, waits for the start and executes the command.

    With `birth` the command is not this process, but one that exec_stub makes.
    """
    process = plan.process
    with step(f"enter the working directory {process.cwd}", "exec", exit_code=126):
        change_directory(process.cwd)
        # A directory outside the root shows itself here: getcwd(2) fails or gives no absolute path (CVE-2024-21626).
        if not os.getcwd().startswith("/"):
            raise MinirunError(f"the working directory {process.cwd} is outside the container's root")
    program = find_program(process.args[0], process.env)
    if slave >= 0:
        from minirun.runtime.process import console

        if not birth:
            console.become_controlling_terminal(slave)
        console.use_as_streams(slave)
    else:
        use_streams(plan.stdio, process.uid)
    if process.umask is not None:
        set_umask(process.umask)
    if keep_groups and process.additional_gids and not plan.keep_groups:
        problem = "process.user.additionalGids: setgroups(2) is denied in this user namespace"
        raise MinirunError(problem, "It was made without the right over groups: see user_namespaces(7).")
    environment = complete_environment(process)
    label, descriptors = _descriptors_of_birth(plan, birth) if birth else _descriptors(plan, channel)
    packed = pack_plan(
        process,
        plan.seccomp,
        descriptors,
        hooks=plan.hooks,
        label=label,
        reaper=plan.reaper,
        keep_groups=keep_groups or plan.keep_groups,
        tell=bool(birth) and tracing(),
        preserve=max(plan.preserve_fds, default=2) - 2,
    )
    plan_fd = memory_file("plan", packed)
    for inherited in (plan_fd, *descriptors.as_dict().values(), *plan.preserve_fds):
        if inherited >= 0:
            os.set_inheritable(inherited, True)
    if plan.personality:
        with step(f"take the personality {plan.personality}", "exec", "It changes what uname(2) says."):
            set_personality(plan.personality)
    if plan.memory_policy:
        limits.take_memory_policy(plan.memory_policy)
    # The new process inherits resource limits; the rest is set on it directly.
    if process.rlimits if birth else limits.asked_for(process):
        channel.send(LIMITS)
        if channel.receive()[0] != LIMITS_SET:
            os._exit(125)  # the parent has ended
    if not birth:
        set_parent_death_signal(0)
    with step(
        "hand over to the last program", "exec", "It runs from a sealed copy in memory, and knows the plan only."
    ):
        exec_file_descriptor(plan.stub_fd, ["minirun-exec-stub", str(plan_fd), program, *process.args], environment)
    sys.exit("exec returned")


def _descriptors(plan: ChildPlan, channel: Channel) -> tuple[Label, Inherited]:
    label, attribute, state = Label(), -1, -1
    if plan.process.has_label:
        from minirun.runtime.process import lsm

        label, attribute = lsm.prepare(plan.process)
    if plan.hooks:
        from minirun.runtime.process.hooks import state_text

        state = memory_file("state", state_text(plan.state | {"pid": os.getpid(), "status": "created"}))
    return label, Inherited(
        channel=channel.fileno(), start=plan.start_fd, trace=trace_descriptor(), attribute=attribute, state=state
    )


def _descriptors_of_birth(plan: ChildPlan, birth: Birth) -> tuple[Label, Inherited]:
    # Not the channel nor the socket for events: both lead to a process of the host, and by a socket one gets at a
    # descriptor of the process at its other end (SO_PEERPIDFD), and from that at all of its descriptors.
    return birth.label, Inherited(
        channel=birth.reports,
        start=plan.start_fd,
        attribute=birth.attribute,
        state=birth.state,
        birth=birth.page,
        gate=birth.gate,
    )


def complete_environment(process: Process) -> list[str]:
    """Return the command's environment: of two values for one name the last, and HOME, which shells rely on."""
    variables = {entry.partition("=")[0]: entry for entry in process.env}
    if variables.get("HOME", "HOME=") == "HOME=":
        variables["HOME"] = f"HOME={home_of(process.uid)}"
    return list(variables.values())


def home_of(uid: int) -> str:
    """Return the home directory of a user by the container's passwd(5), "/" for a user that is not there."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    passwd = read_file_in_root(root, "/etc/passwd") or ""
    os.close(root)
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) >= 6 and fields[2] == str(uid):
            return fields[5] or "/"
    return "/"


def use_streams(stdio: tuple[int, int, int], uid: int) -> None:
    """Make the given descriptors the three standard streams, and give pipes to the user so that /dev/stdout opens."""
    spare = [os.dup(fd) for fd in stdio]
    for stream, fd in enumerate(spare):
        os.dup2(fd, stream, inheritable=True)
        os.close(fd)
        status = os.fstat(stream)
        if uid and status.st_uid != uid and status.st_mode & 0o170000 == 0o010000:
            try:
                change_owner_of_open(stream, uid)
            except OSError as error:
                if error.errno not in (1, 22):  # EPERM, EINVAL: it belongs to a user who is nobody in here
                    raise


def find_program(name: str, environment: Sequence[str]) -> str:
    """Return the path of the program to execute, looked up as execvp(3) does, in the container's PATH.

    Raises MinirunError: exit code 127 if there is none, 126 if it cannot be executed.
    """
    if "/" in name:
        candidates = [name]
    else:
        paths = [text[5:] for text in environment if text.startswith("PATH=")]
        path = paths[-1] if paths else "/bin:/usr/bin"
        candidates = [os.path.join(directory or ".", name) for directory in path.split(":")]
    denied = ""
    if not name:
        candidates = []
    for candidate in candidates:
        try:
            mode = os.stat(candidate).st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            denied = denied or (error.strerror or "").lower()
            continue
        if mode & 0o170000 == 0o040000:
            denied = denied or "is a directory: permission denied"  # EACCES is what Podman looks for, to say 126
        elif not mode & 0o111:
            denied = denied or "permission denied"
        else:
            return candidate
    if denied:
        raise MinirunError(f'exec: "{name}": {denied}', "Check the program's mode and path in the image.", 126)
    if "/" in name:
        raise MinirunError(f'exec: "{name}": no such file or directory', "Is the path right inside the image?", 127)
    raise MinirunError(f'exec: "{name}": executable file not found in $PATH', "Is it installed in the image?", 127)
