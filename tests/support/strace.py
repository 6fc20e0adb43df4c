"""What processes ask of the kernel, as strace(1) sees it and as the story tells it, in the same words.

Both sides are read into one form: for each process a list of the system calls that change something, by name and errno
("mkdirat ENOENT"). Left out on both sides are minirun's own files, and what foreign programs do: iptables, hooks, the
container's command.
"""

from __future__ import annotations

import re
from difflib import unified_diff
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# strace's names for what each operation asks for, in the order in which it does. Operations that are not here only
# read, or change only the process.
OF_OPERATION = {
    "mount": "mount", "bind": "mount", "remount": "mount", "set_propagation": "mount", "move_mount": "mount",
    "unmount_lazily": "umount2", "pivot_root": "pivot_root", "change_root_directory": "chroot",
    "new_file_system": "fsmount", "clone_tree": "open_tree", "attach_tree": "move_mount",
    "set_attributes": "mount_setattr",
    "fork": "fork", "clone3": "clone3", "unshare": "unshare", "setns": "setns",
    "run_program": "spawn", "run_hook": "fork", "start_program": "spawn", "save": "spawn", "restore": "spawn",
    "execute": "execve", "execve": "execve", "exec_file_descriptor": "execveat",
    "capset": "capset", "seccomp": "seccomp", "set_user": "setresuid", "set_hostname": "sethostname",
    "enter_directory": "fchdir",
    "make_directory": "mkdir", "make_directory_at": "mkdirat", "make_file_at": "openat", "remove_directory": "rmdir",
    "make_device": "mknodat", "make_fifo": "mknodat", "make_symlink": "symlinkat",
    "set_owner_and_mode": "fchownat fchmodat",
    "write": "write", "write_lines": "write", "enter_cgroup": "write", "attach_device_program": "bpf",
    "add_bridge": "RTM_NEWLINK", "add_veth": "RTM_NEWLINK", "bring_up": "RTM_NEWLINK", "plug": "RTM_NEWLINK",
    "set_alias": "RTM_NEWLINK", "set_hairpin": "RTM_NEWLINK", "isolate_port": "RTM_NEWLINK", "set_mtu": "RTM_NEWLINK",
    "move_link": "RTM_NEWLINK", "delete_link": "RTM_DELLINK",
    "add_address": "RTM_NEWADDR", "add_address_again": "RTM_NEWADDR", "add_default_route": "RTM_NEWROUTE",
}  # fmt: skip
CALLS = frozenset(
    "mount umount2 pivot_root chroot fsmount open_tree move_mount mount_setattr clone clone3 fork vfork unshare setns "
    "execve execveat capset seccomp setresuid sethostname fchdir mkdir mkdirat openat rmdir mknodat symlinkat "
    "fchownat fchmodat write pwrite64 bpf sendto sendmsg".split()
)
# The subjects of rtnetlink(7) messages, whose numbers begin at 16, four for each: new, delete, get, set.
_RTNETLINK = ("LINK", "ADDR", "ROUTE", "NEIGH", "RULE")


class Call(NamedTuple):
    """One system call: by which process, its name, its arguments and its result."""

    pid: int
    name: str
    arguments: str
    result: str

    @property
    def error(self) -> str:
        return self.result.split()[1] if self.result.startswith("-1 ") else ""

    @property
    def child(self) -> int:
        """The pid that a fork returns, as strace's own PID namespace has it: "7 /* 20451 in strace's PID NS */"."""
        return 0 if self.error else int(re.sub(r".*/\* (\d+) in .*", r"\1", self.result))


def calls(text: str) -> Iterator[Call]:
    """Read the output of `strace -f -y`, where a call that has to wait is in two parts; the first gives its place."""
    begun: dict[int, tuple[int, str]] = {}
    found: dict[int, Call] = {}
    for number, line in enumerate(text.splitlines()):
        pid, _, rest = line.partition(" ")
        rest = rest.strip()
        at = number
        if resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", rest):
            at, first = begun.pop(int(pid))
            rest = first + resumed[1]
        elif rest.endswith("<unfinished ...>"):
            begun[int(pid)] = (number, rest.removesuffix("<unfinished ...>"))
            continue
        whole = re.match(r"(\w+)\((.*)\)\s+= (.*)", rest)
        if whole and whole[1] in CALLS:
            found[at] = Call(int(pid), *whole.groups())
    return (found[at] for at in sorted(found))


def told(events: Iterable[dict[str, Any]]) -> dict[int, list[str]]:
    """Return what each process tells, by its pid in its own PID namespace."""
    found: dict[int, list[str]] = {}
    for event in sorted(events, key=lambda event: event["started_ns"]):
        names = [f"{name} {event['error']}".strip() for name in _names_of(event)]
        if names:
            found.setdefault(event["pid"], []).extend(names)
    return found


def _names_of(event: dict[str, Any]) -> list[str]:
    operation, arguments = event["operation"], event["arguments"]
    if operation not in OF_OPERATION:
        return []
    if operation in ("make_directory", "remove_directory", "write") and not _counts(arguments["path"]):
        return []
    if operation == "write_lines":
        return ["write"] * int(arguments["lines"].split()[0])
    return OF_OPERATION[operation].split()


def seen(text: str, foreign: str = "") -> dict[int, list[str]]:
    """Return what each process asks for, from the first fork (of the process that prints) to its last exec.

    Left out: that process; programs that a process starts or becomes, as they tell nothing; and each process that
    executes the program at the path `foreign`.
    """
    found: dict[int, list[str]] = {}
    silent: set[int] = set()
    for call in calls(text):
        if call.pid in silent:
            continue
        name = _name_of(call)
        child = call.child if name in ("fork", "clone3", "spawn") else 0
        if not found:
            if name == "fork":
                found[call.pid] = []  # what came before is the executable's own start
                silent.add(child)  # it prints
            continue
        if name:
            found[call.pid].append(f"{name} {call.error}".strip())
        if name == "spawn":
            silent.add(child)
        elif child:
            found[child] = []
        if name == "execve" and not call.error:
            silent.add(call.pid)
            if foreign and call.arguments.startswith(f'"{foreign}"'):
                del found[call.pid]
    return {pid: names for pid, names in found.items() if names}


def unmatched(told: dict[int, list[str]], seen: dict[int, list[str]]) -> list[str]:
    """Return how the two differ, as a diff for each process. Inside a PID namespace a process has another number."""
    pairs = [(told[pid], seen[pid]) for pid in told.keys() & seen.keys()]
    rest = [[names for pid, names in one.items() if pid not in other] for one, other in ((told, seen), (seen, told))]
    return [line for one, other in (*pairs, *zip_longest(*rest, fillvalue=[])) for line in unified_diff(one, other)]


def _name_of(call: Call) -> str:
    """Return the name that both sides use for a call, or nothing for one that changes nothing."""
    name, arguments = call.name, call.arguments
    if name in ("clone", "clone3", "fork", "vfork"):
        if "CLONE_VFORK" in arguments or name == "vfork":
            return "spawn"
        return "clone3" if name == "clone3" else "fork"
    if name in ("sendto", "sendmsg"):
        return _rtnetlink(arguments)
    if name == "bpf":
        return name if arguments.startswith("BPF_PROG_ATTACH") else ""
    if name == "seccomp":
        return name if arguments.startswith("SECCOMP_SET_MODE_FILTER") and "len=" in arguments else ""
    if name in ("write", "pwrite64"):
        return "write" if _counts(_path(arguments)) else ""
    if name == "openat":
        return name if "O_CREAT" in arguments and _counts(_path(arguments)) else ""
    if name == "rmdir":
        return name if _path(arguments).startswith("/sys/fs/cgroup/") else ""
    if name == "mkdir":
        return name if _counts(_path(arguments)) else ""
    return name


def _counts(path: str) -> bool:
    """Say whether a path is in a container's root file system, in a cgroup or in /proc, not a file of minirun's own."""
    if path.startswith("/proc/self/fd/"):
        return False
    return "/rootfs" in path or path.startswith(("/sys/fs/cgroup/", "/proc/"))


def _path(arguments: str) -> str:
    """Return the path that a call is about, with that of the directory that it begins in: `24</x>, "y"` is /x/y."""
    directory, path = "", ""
    for descriptor, text in re.findall(r'\w+<([^>]*)>|"([^"]*)"', arguments):  # symlinkat(2) has the target first
        directory, path = (descriptor, path) if descriptor else (directory, text)
    return path if path.startswith("/") else f"{directory}/{path}"


def _rtnetlink(arguments: str) -> str:
    """Return which change to interfaces a message asks for: "RTM_NEWLINK"."""
    kind = re.search(r"nlmsg_type=(RTM_\w+|0x[0-9a-f]+)", arguments)
    if not kind:
        return ""
    name = kind[1]
    if name.startswith("0x"):
        number = int(name, 16) - 16
        if not 0 <= number < 4 * len(_RTNETLINK):
            return ""
        name = f"RTM_{('NEW', 'DEL', 'GET', 'SET')[number % 4]}{_RTNETLINK[number // 4]}"
    return "" if name.startswith("RTM_GET") else name
