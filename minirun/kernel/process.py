"""Processes and namespaces: clone3, unshare, setns, pidfds, and the way out by exec."""

from __future__ import annotations

import _signal  # the C part of `signal`, which would bring `enum` along, for 5 ms
import errno
import fcntl
import os
import sys

from minirun.kernel._native import ffi, lib
from minirun.kernel.trace import operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

SIGKILL, SIGPIPE, SIGCHLD, SIGXFSZ = 9, 13, 17, 25

# The namespace types of the runtime specification, with their clone flags and their names in /proc/PID/ns.
NAMESPACE_FLAGS: dict[str, int] = {
    "user": lib.CLONE_NEWUSER,
    "pid": lib.CLONE_NEWPID,
    "mount": lib.CLONE_NEWNS,
    "uts": lib.CLONE_NEWUTS,
    "ipc": lib.CLONE_NEWIPC,
    "network": lib.CLONE_NEWNET,
    "cgroup": lib.CLONE_NEWCGROUP,
    "time": lib.CLONE_NEWTIME,
}
CLONE_PARENT: int = lib.CLONE_PARENT
UNSHARE_WORDS = {name: {"network": "net"}.get(name, name) for name in NAMESPACE_FLAGS}
NAMESPACE_FILES = {name: name for name in NAMESPACE_FLAGS} | {"mount": "mnt", "network": "net"}


def flag_names(flags: int) -> str:
    """Show clone flags as the manual writes them: "CLONE_NEWPID|CLONE_NEWNS"."""
    names = [
        "CLONE_NEW" + {"mount": "NS", "network": "NET"}.get(n, n.upper())
        for n, f in NAMESPACE_FLAGS.items()
        if flags & f
    ]
    return "|".join(names) or "0"


def check(result: int, subject: str) -> int:
    """Return the result of a wrapper of `_native`, or raise the OSError that its negative errno stands for."""
    if result < 0:
        raise OSError(-result, os.strerror(-result), subject)
    return result


def _shell_words(flags: int) -> str:
    """Show clone flags as options of unshare(1)."""
    return "".join(f" --{UNSHARE_WORDS[name]}" for name, flag in NAMESPACE_FLAGS.items() if flags & flag)


@operation(
    man="clone3(2)",
    shell=lambda v: f"unshare --fork{_shell_words(v['flags'])} ...",
    returns=lambda born: str(born[0]) if born[0] else None,
    flags=flag_names,
)
def clone3(flags: int, cgroup_fd: int = -1) -> tuple[int, int]:
    """Fork into new namespaces and, with `cgroup_fd`, straight into a cgroup (CLONE_INTO_CGROUP).

    With CLONE_PARENT among the flags the new process is not a child but a sibling: its parent is this one's.

    Returns (pid, pidfd) in the parent and (0, -1) in the child, which continues in the same Python interpreter: without
    CLONE_VM clone3 is a fork. The caller must be single-threaded. The pidfd is close-on-exec. Raises OSError.
    """
    pidfd = ffi.new("int *", -1)
    exit_signal = 0 if flags & CLONE_PARENT else SIGCHLD  # a sibling's is this process's own
    pid = check(lib.minirun_clone3(flags, cgroup_fd, exit_signal, pidfd), f"clone3({flag_names(flags)})")
    return (pid, pidfd[0]) if pid else (0, -1)


@operation(man="fork(2)", returns=lambda pid: str(pid) if pid else None)
def fork() -> int:
    """Make a copy of this process, which must have one thread; return its pid, and 0 in the copy. Raises OSError."""
    return os.fork()


def has_threads() -> bool:
    """Say whether this process has more than one thread, so that its copy by `fork` could wait for ever for a lock."""
    return len(os.listdir("/proc/self/task")) > 1


@operation(man="umask(2)", shell="umask {mask}", mask=lambda mask: f"{mask:04o}", returns=lambda mask: f"{mask:04o}")
def set_umask(mask: int) -> int:
    """Set this process's umask; return the former one."""
    return os.umask(mask)


@operation(man="memfd_create(2)", content=lambda content: f"{len(content)} bytes")
def memory_file(name: str, content: bytes = b"") -> int:
    """Return a descriptor of a file in memory with `content`, at its beginning, close-on-exec.

    The name is for /proc only. Raises OSError.
    """
    file = os.memfd_create(name, os.MFD_CLOEXEC)
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(file, rest) :]
    os.lseek(file, 0, os.SEEK_SET)
    return file


def is_memory_file(file: int) -> bool:
    """Say whether a descriptor is of a file in memory: reading it never waits. Raises OSError (EBADF)."""
    try:
        fcntl.fcntl(file, fcntl.F_GET_SEALS)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return True


@operation(man="cgroups(7)", shell="echo 0 > .../tasks")
def enter_cgroup(tasks: int) -> None:
    """Move this process, which has one thread, into the v1 cgroup whose file `tasks` is open. Raises OSError."""
    os.write(tasks, b"0")


@operation(
    man="unshare(2)",
    shell=lambda v: f"unshare{_shell_words(v['flags'])}",
    flags=flag_names,
)
def unshare(flags: int) -> None:
    """Move this process into new namespaces (for PID and time: its children). Raises OSError."""
    check(lib.minirun_unshare(flags), f"unshare({flag_names(flags)})")


@operation(man="setns(2)", shell="nsenter --namespace {subject}", flags=flag_names)
def setns(fd: int, flags: int, subject: str = "") -> None:
    """Join the namespace behind `fd` (a /proc/PID/ns file), or those of the process behind a pidfd. Raises OSError."""
    check(lib.minirun_setns(fd, flags), subject or f"setns({flag_names(flags)})")


@operation(man="pidfd_open(2)")
def pidfd_open(pid: int) -> int:
    """Return a file descriptor that names this very process, even after its number is reused. Raises OSError."""
    return os.pidfd_open(pid)


@operation(man="pidfd_send_signal(2)", shell="kill -{number} $pid")
def pidfd_send_signal(pidfd: int, number: int) -> None:
    """Send a signal to the process behind `pidfd`. Raises ProcessLookupError when it has ended."""
    _signal.pidfd_send_signal(pidfd, number)


@operation(man="setresuid(2)", shell="setpriv --reuid {uid} --regid {gid} --clear-groups ...")
def set_user(uid: int, gid: int, *, clear_groups: bool) -> None:
    """Make `uid` and `gid` all of this process's ids, and its supplementary groups none. Raises OSError.

    Without `clear_groups` the groups stay: a user namespace may have setgroups(2) denied (user_namespaces(7)).
    """
    if clear_groups:
        os.setgroups(())
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


@operation(man="kill(2)", shell="kill -{number} {pid}")
def send_signal(pid: int, number: int) -> None:
    """Send a signal to a child that has not been waited for, so that its pid cannot be another's. It may have ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


@operation(man="signalfd(2)")
def open_signals() -> int:
    """Block all signals of this process and return a descriptor from which `read_signal` takes them. Raises OSError."""
    return check(lib.minirun_signalfd(), "signalfd")


def read_signal(signals: int) -> int:
    """Return the number of the next signal, waiting for it. Raises OSError."""
    return int.from_bytes(os.read(signals, 128)[:4], sys.byteorder)  # struct signalfd_siginfo begins with ssi_signo


@operation(man="sethostname(2)", shell="hostname {name}")
def set_hostname(name: str) -> None:
    """Set the host name of this UTS namespace. Raises OSError."""
    text = name.encode()
    check(lib.minirun_sethostname(text, len(text)), f"hostname {name}")


@operation(man="setdomainname(2)", shell="domainname {name}")
def set_domainname(name: str) -> None:
    """Set the NIS domain name of this UTS namespace. Raises OSError."""
    text = name.encode()
    check(lib.minirun_setdomainname(text, len(text)), f"domainname {name}")


@operation(man="keyctl(2)", shell="keyctl new_session")
def join_session_keyring(name: str) -> None:
    """Give this process a session keyring of its own, so that it does not share the caller's keys. Raises OSError."""
    check(lib.minirun_join_session_keyring(name.encode()), "session keyring")


PERSONALITIES: dict[str, int] = {"LINUX": lib.PER_LINUX, "LINUX32": lib.PER_LINUX32}


@operation(man="personality(2)", shell="setarch {domain} ...")
def set_personality(domain: str) -> None:
    """Choose the machine that uname(2) reports to this process and what it executes: "LINUX" or "LINUX32"."""
    check(lib.minirun_personality(PERSONALITIES[domain]), domain)


def native_program(name: str) -> str:
    """Return the path of one of minirun's own programs in C (minirun/native, setup.py)."""
    return os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "native", "bin", name)


@operation(man="memfd_create(2)")
def sealed_copy(path: str) -> int:
    """Return a file descriptor of a sealed copy of the program at `path`, in memory.

    What is executed from it shows no file of the host in /proc/PID/exe, and nobody can write to it (CVE-2019-5736).
    Nobody but the host's root can read it: a process in a user namespace that executes it cannot be traced from there.
    """
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        memory = os.memfd_create(os.path.basename(path), os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        size = os.fstat(source).st_size
        while size > 0:
            size -= os.sendfile(memory, source, None, size)
    finally:
        os.close(source)
    os.fchmod(memory, 0o111)
    fcntl.fcntl(memory, lib.F_ADD_SEALS, lib.F_SEAL_SEAL | lib.F_SEAL_SHRINK | lib.F_SEAL_GROW | lib.F_SEAL_WRITE)
    return memory


@operation(man="close_range(2)")
def close_range(first: int, last: int) -> None:
    """Close the file descriptors `first` to `last`. Raises OSError."""
    check(lib.minirun_close_range(first, last, 0), "close_range")


@operation(man="execveat(2)", is_exec=True, arguments=" ".join, environment=lambda e: f"{len(e)} variables")
def exec_file_descriptor(fd: int, arguments: Sequence[str], environment: Sequence[str]) -> None:
    """Replace this process by the program behind `fd`; `environment` holds NAME=VALUE. Returns only by OSError."""
    argv = [ffi.new("char[]", os.fsencode(text)) for text in arguments]
    envp = [ffi.new("char[]", os.fsencode(text)) for text in environment]
    result = lib.minirun_execveat(
        fd, b"", ffi.new("char *[]", [*argv, ffi.NULL]), ffi.new("char *[]", [*envp, ffi.NULL]), lib.AT_EMPTY_PATH
    )
    check(result, f"execute {arguments[0]}")


def own_python(module: str, *arguments: str) -> list[str]:
    """Return the command that calls `main` of a module of minirun's with these arguments.

    It is by this very Python with this very module path.
    """
    program = f"import sys; sys.path[:] = {sys.path!r}; from {module} import main; main(*sys.argv[1:])"
    return [sys.executable, "-I", "-S", "-c", program, *arguments]


@operation(man="execve(2)", arguments=" ".join)
def start_program(arguments: Sequence[str], descriptors: Sequence[int]) -> int:
    """Start a program that inherits the standard streams and these descriptors, by the same numbers; return its pid.

    It is a child of this process, which may have threads. Raises OSError.
    """
    import subprocess

    started = subprocess.Popen(arguments, pass_fds=descriptors)
    started.returncode = 0  # the caller waits for the pid; this object must not when it is deleted
    return started.pid


@operation(man="execve(2)", is_exec=True, arguments=" ".join)
def execute(program: str, arguments: Sequence[str]) -> NoReturn:
    """Replace this process by `program`, with this process's environment. Returns only by raising OSError."""
    os.execv(program, list(arguments))


@operation(
    man="posix_spawn(3)",
    arguments=" ".join,
    environment=lambda e: f"{len(e)} variables",
    text=lambda text: f"{len(text)} bytes",
    returns=lambda ended: str(ended[0]),  # what it has printed may be a password
)
def run_program(
    program: str,
    arguments: Sequence[str],
    environment: Sequence[str],
    text: bytes,
    timeout: float | None,
    *,
    stdout: str = "",
    stderr: str = "",
) -> tuple[int | None, str]:
    """Run a program with `text` as standard input; return its exit code (None: killed after `timeout` seconds)
    and its output, except for what is appended to the files `stdout` and `stderr`.

    The exit code is negative for a signal. Raises OSError if it cannot be executed.
    """
    # It inherits nothing but its streams. These are files in memory: what it starts may keep them open, and no pipe of
    # theirs has to be emptied meanwhile.
    check(lib.minirun_close_range(3, 2**32 - 1, 1), "close_range")
    given = os.memfd_create("input", os.MFD_CLOEXEC)
    os.write(given, text)
    os.lseek(given, 0, os.SEEK_SET)
    collected = os.memfd_create("output", os.MFD_CLOEXEC)
    opened = [given, collected]
    try:
        streams = [given, collected, collected]
        for number, path in ((1, stdout), (2, stderr)):
            if path:
                streams[number] = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
                opened.append(streams[number])
        pid = os.posix_spawn(
            program,
            list(arguments),
            dict(entry.partition("=")[::2] for entry in environment),
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(streams)],
            setsigmask=(),  # see `open_signals`
            setsigdef=(SIGPIPE, SIGXFSZ),  # which Python ignores
        )
        code = _wait(pid, timeout)
        return code, os.pread(collected, os.fstat(collected).st_size, 0).decode(errors="replace")
    finally:
        for fd in opened:
            os.close(fd)


def _wait(pid: int, timeout: float | None) -> int | None:
    """Wait until a child has ended; kill it after `timeout` seconds and return None."""
    if timeout is not None:
        import select

        pidfd = os.pidfd_open(pid)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        try:
            in_time = poll.poll(timeout * 1000)
        except BaseException:  # Ctrl-C: who does not wait for it any more does not leave it behind
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            raise
        finally:
            os.close(pidfd)
        if not in_time:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            return None
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def prepare_to_run_programs() -> None:
    """Import what `run_program` needs, for a child that will not be able to later (see `close_imports`)."""
    import select  # noqa: F401


@operation(man="setsid(2)", shell="setsid")
def new_session() -> None:
    """Leave the caller's session and terminal. Raises OSError."""
    try:
        os.setsid()
    except OSError as error:
        raise OSError(error.errno, error.strerror, "setsid") from None


def close_imports() -> None:
    """Make it impossible for this process to import another module.

    Called before it enters a container: a late import would look for files by path, find the image's, and run its code
    with the runtime's privileges.
    """
    sys.path.clear()
    sys.meta_path.clear()
    sys.path_hooks.clear()
