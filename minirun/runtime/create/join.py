"""The host's side of joining a container: `exec`, and a container whose PID namespace is another's.

    parent                                  intermediate (joiner.py)             the command's process
    ------                                  ------------------------             ---------------------
    clone3(CLONE_INTO_CGROUP)       ------> close_imports()
    PREPARED keep_groups, has_root  ------> enters the cgroups of v1 (+ their descriptors)
                                            setns(user, net, ..., mount; pid: its children)
                                    <------ CONSOLE + the pty's master (only with a terminal)
                                    <------ REPORTS + a socket
                                    <------ LIMITS                         (only with limits)
    sets rlimits
    LIMITS_SET                      ------> executes native/exec_stub.c, which gives up privileges
                                            clone3(CLONE_PARENT)        -------> setsid(), terminal
    reads its pid in the page       <------ ends
    sets priorities, CPUs, opens the gate  ------------------------------------> waits at the gate (only with those)
                                    <--- over the socket: TOLD -----------------
                                    <--- LISTENER + the filter's descriptor ----
                                    <--- READY, or FAILED ----------------------

The last column can be stopped, and traced and so driven, by whoever in the container may: what it says is data and may
be a lie, and it may say nothing at all. So nothing is waited for longer than PATIENCE, its pid comes from the kernel,
and it gets no message, only that byte in a pipe.
"""

from __future__ import annotations

import _socket as socket
import os
import select
import struct
from time import monotonic

from minirun.errors import MinirunError
from minirun.kernel.files import write_to_pipe
from minirun.kernel.limits import set_affinity
from minirun.kernel.process import (
    NAMESPACE_FLAGS,
    SIGKILL,
    clone3,
    memory_file,
    pidfd_open,
    pidfd_send_signal,
)
from minirun.kernel.session.interrupt import interruptible
from minirun.kernel.trace import relay, step, tracing
from minirun.runtime.create import joiner, protocol
from minirun.runtime.create.child_imports import import_for_child
from minirun.runtime.create.protocol import Channel, Cloned
from minirun.runtime.namespaces.types import pid_inside
from minirun.runtime.process import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.runtime.create.child import ChildPlan
    from minirun.runtime.create.joiner import Target

PATIENCE = 30  # seconds without progress; the whole handshake takes a few dozen system calls
_PATIENCE_WITH_THE_DEAD = 5  # seconds: a process in a frozen cgroup of v1 cannot even die


def clone_into(
    target: Target, plan: ChildPlan, cgroup_fd: int, tasks: tuple[int, ...], *, caller: int = -1, patient: bool = False
) -> Cloned:
    """Make a process in the namespaces of `target`; it stands just before its exec. Raises MinirunError.

    `tasks` are descriptors of the `tasks` of cgroups that it is to enter. `caller` is a socket whose other end is
    closed when the caller has gone; -1 without one. A `patient` caller waits without a limit, as for a container that
    is paused.
    """
    with (
        step("make a process in the container's cgroup", "namespaces", "It enters the namespaces from there."),
        interruptible(),
    ):
        return _Joining(target, plan, caller, patient).run(cgroup_fd, tasks)


class _Joining:
    """One process on its way into a container."""

    def __init__(self, target: Target, plan: ChildPlan, caller: int, patient: bool) -> None:
        self._target = target
        self._plan = plan
        self._caller = caller
        self._patient = patient
        self._has_moved()
        self._console = -1
        self._reports: Channel | None = None
        self._opened: list[int] = []

    def run(self, cgroup_fd: int, tasks: tuple[int, ...]) -> Cloned:
        try:
            return self._run(cgroup_fd, tasks)
        finally:
            if self._reports:
                self._reports.close()
            for fd in self._opened:
                os.close(fd)

    def _run(self, cgroup_fd: int, tasks: tuple[int, ...]) -> Cloned:
        process = self._plan.process
        import_for_child(self._plan)
        page = self._open(memory_file("birth", bytes(4)))
        state = self._open(memory_file("state", b"")) if self._plan.hooks else -1
        gate, our_gate = -1, -1
        if self._plan.hooks or limits.priorities_asked_for(process):
            gate, our_gate = map(self._open, os.pipe2(os.O_CLOEXEC))
        cpus = limits.start_on_initial_cpus(process)
        ours, theirs = protocol.open_channel()
        intermediate, pidfd = clone3(0, cgroup_fd)
        if intermediate == 0:
            ours.close()
            joiner.run(self._target, self._plan, theirs, page, gate, state)
        self._open(pidfd)
        born_fd = -1
        try:
            theirs.close()
            if gate >= 0:
                self._close(gate)
            if cpus:
                set_affinity(os.getpid(), cpus)
            self._serve_intermediate(ours, intermediate, pidfd, tasks)
            born = self._read_birth(page, intermediate)
            born_fd = pidfd_open(born)
            if our_gate >= 0:
                self._open_gate(born, our_gate, state)
            self._hear(born, born_fd)
        except BaseException:
            _end(intermediate, pidfd)
            if born := _pid_in(page):
                born_fd = born_fd if born_fd >= 0 else pidfd_open(born)
                _end(born, born_fd)
                os.close(born_fd)
            raise
        finally:
            ours.close()
        return Cloned(born, born_fd, self._console)

    def _open(self, fd: int) -> int:
        self._opened.append(fd)
        return fd

    def _close(self, fd: int) -> None:
        self._opened.remove(fd)
        os.close(fd)

    def _wait_for(self, fd: int) -> None:
        """Wait until there is something to read. Raises MinirunError if it takes too long or the caller has gone."""
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if self._caller >= 0:
            poll.register(self._caller, 0)  # its end
        left = None if self._patient else max(0, round((self._deadline - monotonic()) * 1000))
        ready = [number for number, _ in poll.poll(left)]
        if self._caller in ready:
            raise MinirunError("whoever called has gone", "", 130)
        if fd in ready and left != 0:  # a process that sends messages without end makes no progress either
            return
        raise MinirunError(
            f"the new process in the container has not moved for {PATIENCE} seconds and was killed",
            "Something in there has stopped it, or the container is paused or out of memory.",
        )

    def _has_moved(self) -> None:
        """Restart the wait: there was progress."""
        self._deadline = monotonic() + PATIENCE

    def _serve_intermediate(self, channel: Channel, pid: int, pidfd: int, tasks: tuple[int, ...]) -> None:
        """Serve the intermediate process until it has executed native/exec_stub.c, which ends when it has done its
        part."""
        if any(self._plan.rdt_directories):
            from minirun.runtime.cgroup import rdt

            rdt.add(self._plan.rdt_directories, pid)
        in_user_namespace = bool(self._target.flags & NAMESPACE_FLAGS["user"])
        ids = None
        if in_user_namespace:
            from minirun.runtime.namespaces.id_maps import what_ids_allow

            ids = what_ids_allow(self._target.pid)
        try:
            channel.send(protocol.PREPARED, ids, *tasks)
        except BrokenPipeError:
            pass  # it has ended already; what it has sent before says why
        kind = protocol.PREPARED
        while kind:
            self._wait_for(channel.fileno())
            kind, fields, fd = channel.receive()
            self._has_moved()
            if kind == protocol.CONSOLE:
                self._console = self._open(fd)
            elif kind == protocol.REPORTS:
                self._reports = Channel(socket.socket(fileno=fd))
            elif kind == protocol.LIMITS:
                limits.set_resources(pid, self._plan.process)
                channel.send(protocol.LIMITS_SET)
            elif kind == protocol.FAILED:
                protocol.raise_failure(fields)
        self._wait_for(pidfd)

    def _read_birth(self, page: int, intermediate: int) -> int:
        """Reap the intermediate process and return the pid of the one that it has made."""
        self._has_moved()
        if born := _pid_in(page):
            os.waitpid(intermediate, 0)
            return born
        while self._reports:
            kind, fields, _ = self._reports.receive()
            if kind == protocol.FAILED:
                protocol.raise_failure(fields)
            if not kind:
                break
        raise protocol.child_died(intermediate)

    def _open_gate(self, born: int, gate: int, state: int) -> None:
        """Set priorities on the command's process from outside; it waits for that."""
        limits.set_priorities(born, self._plan.process)
        if state >= 0:
            from minirun.kernel.layerfs import write_at
            from minirun.runtime.process.hooks import state_text

            inside = pid_inside(born)
            write_at(state, state_text(self._plan.state | {"pid": inside, "status": "created"}), 0)
        try:
            write_to_pipe(gate)
        except BrokenPipeError:
            pass  # it has ended, which shows next

    def _hear(self, born: int, born_fd: int) -> None:
        """Read the reports of the command's process until it is ready."""
        if self._reports is None:
            raise ValueError("nobody is born before there is a way to report")
        while True:
            self._wait_for(self._reports.fileno())
            kind, fields, fds = self._reports.receive_all()
            if kind == protocol.LISTENER and self._plan.seccomp and fds:
                from minirun.runtime.seccomp import notify

                notify.hand_over(fds.pop(0), born, self._plan)
            if kind == protocol.TOLD and tracing():
                relay(protocol.event_of(fields), fds[0] if fds else -1)
            for fd in fds:
                os.close(fd)
            if kind == protocol.FAILED:
                protocol.raise_failure(fields)
            elif kind == protocol.READY:
                if self._console >= 0:
                    self._opened.remove(self._console)
                return
            elif not kind:
                self._wait_for(born_fd)
                raise protocol.child_died(born, options=os.WNOHANG)


def _pid_in(page: int) -> int:
    """Return the pid that the kernel has written, or 0."""
    pid: int
    (pid,) = struct.unpack("=i", os.pread(page, 4, 0))
    return pid


def _end(pid: int, pidfd: int) -> None:
    """Kill a child and reap it; one that cannot die, or that is being traced, is left to its next parent."""
    try:
        pidfd_send_signal(pidfd, SIGKILL)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll(_PATIENCE_WITH_THE_DEAD * 1000)
        os.waitpid(pid, os.WNOHANG)
    except (ProcessLookupError, ChildProcessError):
        pass
