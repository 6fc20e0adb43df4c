"""How the two sides of `create` talk.

    parent (host's side)                           child (container's side)
    --------------------                           ------------------------
    clone3(namespaces, CLONE_INTO_CGROUP)  ------> close_imports(), brings up lo
    makes cgroups of v1, device rules                                                  (meanwhile)
    writes uid_map and gid_map                                                         (only for a new user namespace)
    PREPARED keep_groups, has_root         ------> enters the cgroups of v1            (+ their descriptors)
                                                   builds rootfs, devices, terminal
                                           <------ DEVICES  its network is there       (only with linux.netDevices)
    moves network devices
    DEVICES_MOVED                          ------>
                                           <------ MOUNT_FD_REQUEST number of a mount  (only for what the parent
    MOUNT_FD + the mount, or errno         ------>          or of a device             alone may open or make)
                                           <------ CONSOLE  + the pty's master        (only with a terminal)
                                           <------ HOOKS    all is mounted            (only with hooks)
    runs prestart and createRuntime hooks
    HOOKS_RUN                              ------> leaves the host's root behind
                                           <------ LIMITS   all else is done          (only with limits)
    sets rlimits, priorities, CPUs
    LIMITS_SET                             ------> executes native/exec_stub.c, which gives up privileges
                                           <------ LISTENER + the filter's descriptor (only with SCMP_ACT_NOTIFY)
                                           <------ READY, or FAILED with message, hint, exit code
    the container waits on exec.fifo

A process cannot clone a child straight into a user namespace that exists, or into a time namespace whose offsets are
yet to be set: it must enter it first, and then it could not go back. For those the parent makes an intermediate
process that enters, and that makes the container's first process as its own *sibling* (CLONE_PARENT), so that it is the
parent's child after all:

    parent                                         intermediate process
    ------                                         --------------------
    clone3(CLONE_INTO_CGROUP)              ------> setns(net, ipc, user, ...), unshare(time)
                                                   clone3(CLONE_PARENT, namespaces)  ---> the child, in the same cgroup
                                           <------ CLONED   pid  + its pidfd; ends
    and from here on as above

How a process joins a PID namespace that exists, with others in it, is another story: see join.py.

One message is one datagram of a SOCK_SEQPACKET pair: JSON, with descriptors as SCM_RIGHTS. Where the JSON is too long
for that, as for a container of thousands of volumes, it is in a memfd (memfd_create(2)), the first of the descriptors.
Nothing is pickled: what comes out of a container is data, never code.
"""

from __future__ import annotations

import _socket as socket  # the C part of `socket`, which would bring `selectors` and `enum` along, for 8 ms
import errno
import os
import struct

from minirun.errors import MinirunError
from minirun.kernel.files import read
from minirun.kernel.process import is_memory_file, memory_file
from minirun.kernel.trace import Event, reason_of
from minirun.model import jsontext
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PREPARED = "prepared"
CONSOLE = "console"
DEVICES = "devices"
DEVICES_MOVED = "devices moved"
HOOKS = "hooks"
HOOKS_RUN = "hooks run"
CLONED = "cloned"
MOUNT_FD_REQUEST = "mount fd request"
MOUNT_FD = "mount fd"
LIMITS = "limits"
LIMITS_SET = "limits set"
LISTENER = "listener"
BUILT = "built"
READY = "ready"
REPORTS = "reports"
TOLD = "told"
FAILED = "failed"
_LARGEST = 200_000  # what a socket's default buffer (net.core.wmem_default) takes in one piece
_LONGEST = 64 << 20  # of a message in memory
_IN_MEMORY = b"in memory"  # no JSON begins like this
_MOST_FDS = 253  # SCM_MAX_FD of the kernel


class Cloned(Record):
    """A process that stands just before its exec: its pid, a pidfd, and the master of its terminal or -1."""

    pid: int
    pidfd: int
    console: int


class Channel:
    """One end of the handshake."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def fileno(self) -> int:
        """Return the descriptor of this end."""
        return self._end.fileno()

    def close(self) -> None:
        """Close this end; the other reads end of file."""
        self._end.close()

    def send(self, kind: str, fields: dict[str, Any] | None = None, *fds: int) -> None:
        """Send one message and copies of the descriptors. Raises OSError; BrokenPipeError if nobody will read it."""
        data = jsontext.dumps([kind, fields or {}]).encode()
        long = -1
        if len(data) > _LARGEST:
            long = memory_file("message", data)
            data, fds = _IN_MEMORY, (long, *fds)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"={len(fds)}i", *fds))] if fds else []
        try:
            self._end.sendmsg([data], rights)
        except ConnectionResetError as error:  # the other side died with a message unread
            raise BrokenPipeError(*error.args) from error
        finally:
            if long >= 0:
                os.close(long)

    def receive(self) -> tuple[str, dict[str, Any], int]:
        """Return the next message as (kind, fields, fd or -1); ("", {}, -1) at end of file. Raises OSError."""
        kind, fields, fds = self.receive_all()
        return kind, fields, fds[0] if fds else -1

    def receive_all(self) -> tuple[str, dict[str, Any], list[int]]:
        """Return the next message with all its descriptors; ("", {}, []) at end of file.

        Raises OSError, and MinirunError for anything but a message: the sender may be under the control of an attacker.
        """
        space = socket.CMSG_SPACE(4 * _MOST_FDS)
        try:
            data, rights, _, _ = self._end.recvmsg(_LARGEST, space, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            # The other side died with a message unread. That is said first, and once; then comes what it had sent.
            data, rights, _, _ = self._end.recvmsg(_LARGEST, space, socket.MSG_CMSG_CLOEXEC)
        if not data:
            return "", {}, []
        fds = [fd for _, _, content in rights for (fd,) in struct.iter_unpack("=i", content[: len(content) & ~3])]
        try:
            kind, fields = jsontext.loads(data if data != _IN_MEMORY else _read_all(fds.pop(0)))
            if isinstance(kind, str) and isinstance(fields, dict):
                return kind, fields, fds
        except (ValueError, TypeError, RecursionError, IndexError, OSError):
            pass
        for fd in fds:
            os.close(fd)
        raise MinirunError("a process of the container has sent what is no message", "Is it traced from inside?")

    def send_failure(self, error: BaseException) -> None:
        """Tell the parent why the child gives up."""
        if not isinstance(error, MinirunError):
            error = MinirunError(reason_of(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}")
        message = error.message[: _LARGEST // 4]
        self.send(FAILED, {"message": message, "hint": error.hint, "exit_code": error.exit_code})


def _read_all(file: int) -> bytes:
    """Return the content of a memfd and close it. Raises OSError for any other file, as reading it might block."""
    try:
        if not is_memory_file(file):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return os.pread(file, _LONGEST, 0)
    finally:
        os.close(file)


def send_descriptor(path: str, content: bytes, descriptor: int) -> None:
    """Send a descriptor, together with `content`, to the Unix socket at `path`. Raises OSError."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        channel.connect(path)
        channel.sendmsg([content], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("=i", descriptor))])
    finally:
        channel.close()


def open_channel() -> tuple[Channel, Channel]:
    """Return the parent's and the child's end. Both are close-on-exec."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    return Channel(ours), Channel(theirs)


def raise_failure(fields: dict[str, Any]) -> None:
    """Raise in the parent what the child reported."""
    exit_code = fields.get("exit_code")
    if not isinstance(exit_code, int) or not 0 < exit_code < 256:
        exit_code = 125
    raise MinirunError(str(fields.get("message")), str(fields.get("hint") or ""), exit_code)


def event_of(fields: dict[str, Any]) -> Event:
    """Return the event that native/exec_stub.c tells, leaving out what is not text."""

    def text(value: object) -> str:
        return value if isinstance(value, str) and value.isprintable() else ""

    def number(value: object) -> int:
        return value if isinstance(value, int) else 0

    def each(value: object) -> list[Any]:
        return value if isinstance(value, list) else []

    arguments = fields.get("arguments")
    steps = [(*map(text, each(entry)), "", "", "")[:3] for entry in each(fields.get("steps"))]
    return Event(
        process=text(fields.get("process")),
        pid=number(fields.get("pid")),
        steps=tuple((title, topic, why) for title, topic, why in steps),
        operation=text(fields.get("operation")),
        arguments={text(n): text(v) for n, v in arguments.items()} if isinstance(arguments, dict) else {},
        result="",
        error=text(fields.get("error")),
        started_ns=number(fields.get("started_ns")),
        duration_ns=number(fields.get("duration_ns")),
        man=text(fields.get("man")),
        shell="",
    )


def child_died(pid: int, own_cgroup: int = -1, options: int = 0) -> MinirunError:
    """Describe a child that ended without a message, as after the OOM killer.

    `own_cgroup` is a descriptor of the child's cgroup, if what is counted there is about nobody else; `options` are
    those of waitpid(2).
    """
    _, status = os.waitpid(pid, options)
    if os.WIFSIGNALED(status) and own_cgroup >= 0 and _has_killed(own_cgroup):
        return MinirunError("container init was OOM-killed (memory limit too low?)", "Raise its memory limit.")
    how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {os.WEXITSTATUS(status)}"
    return MinirunError(f"the container's process ended during creation with {how}", "Is its memory limit too small?")


def _has_killed(cgroup_fd: int) -> bool:
    """Say whether the kernel has killed a process of this cgroup for its memory limit, as far as v2 counts that."""
    try:
        events = read(f"/proc/self/fd/{cgroup_fd}/memory.events").split()
    except FileNotFoundError:
        return False
    return "oom_kill" in events and events[events.index("oom_kill") + 1] != "0"
