"""What is written down of a container, and whether its first process is still the one that was written down."""

from __future__ import annotations

from minirun.kernel.files import read
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.typed import Pid, Seconds


class ContainerState(Record):
    """runtime-spec runtime.md, "State", and what later calls need to find.

    `pid_start_time` is field 22 of /proc/PID/stat: it tells a reused pid from the container's. `cgroup` is the
    cgroup's directory, or "" if the container stays in its creator's; `unit` is the scope's name where systemd made
    it; `cgroup_v1` are the directories in the hierarchies of cgroup v1, by their controllers. `hooks` are the kinds of
    hooks it has: without any, later calls need not read its config.json. `rdt_directory` and `rdt_monitor` are its
    directories in resctrl, the first of which goes with the container if `rdt_made`. With `mounted_on_host` its mounts
    are its creator's, below `rootfs`.
    """

    id: str
    bundle: str
    pid: Pid
    pid_start_time: str
    created: Seconds
    cgroup: str = ""
    annotations: dict[str, str] = {}
    rootfs: str = ""
    unit: str = ""
    hooks: tuple[str, ...] = ()
    cgroup_v1: dict[str, str] = {}
    rdt_directory: str = ""
    rdt_monitor: str = ""
    rdt_made: bool = False
    mounted_on_host: bool = False


def start_time(pid: int) -> str:
    """Return when the process started, in clock ticks since boot (proc_pid_stat(5)), or "" if it has ended."""
    try:
        stat = read(f"/proc/{pid}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # The second field is the command's name in parentheses and may itself hold spaces and parentheses.
    fields = stat[stat.rindex(")") + 2 :].split()
    ended = fields[0] in "ZX"
    return "" if ended else fields[19]


def is_alive(state: ContainerState) -> bool:
    """Say whether the container's first process lives: one that died before it was noted has no start time."""
    return bool(state.pid and state.pid_start_time) and start_time(state.pid) == state.pid_start_time
