"""What cgroups of both versions have in common: directories with files, and processes in them (cgroups(7))."""

from __future__ import annotations

import errno
import os
import time

from minirun.errors import MinirunError
from minirun.kernel.files import has_attribute, read, remove_attribute, remove_directory, write
from minirun.kernel.trace import step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minirun.runtime.cgroup.limits import Setting

GONE = (errno.ENOENT, errno.ENODEV)  # what the kernel says of a cgroup that another command has removed
KEEP_ATTRIBUTE = "trusted.org.minirun.keep"  # on a cgroup that was there before its container


# -- reading ----------------------------------------------------------------------------------------------------------


def text_of(directory: str, name: str) -> str:
    """Return the text of one of the cgroup's files, "" if there is none or it cannot be read."""
    try:
        return read(f"{directory}/{name}")
    except OSError:
        return ""


def lines(directory: str, name: str) -> list[str]:
    """Return the lines of one of the cgroup's files; none if there is no such file."""
    return text_of(directory, name).splitlines()


def keyed_values(directory: str, name: str) -> dict[str, int]:
    """Return a flat keyed file such as cpu.stat or memory.events as numbers; empty if there is no such file."""
    pairs = (line.partition(" ") for line in lines(directory, name))
    return {key: int(value) for key, _, value in pairs if value.isdigit()}


def value(directory: str, name: str) -> int | None:
    """Return a file with one number; None if there is no such file, -1 for "max"."""
    try:
        text = read(f"{directory}/{name}").strip()
    except OSError:
        return None
    return -1 if text == "max" else int(text)


def processes(directory: str) -> list[int]:
    """Return the pids of the cgroup and of those below it."""
    found: set[int] = set()
    for below, _, _ in os.walk(directory):
        try:
            found.update(int(pid) for pid in read(f"{below}/cgroup.procs").split())
        except OSError as error:
            # In thread mode, processes are listed in the cgroup where the mode begins; here there are only threads.
            if error.errno == errno.EOPNOTSUPP:
                found.update(_process_of(thread) for thread in text_of(below, "cgroup.threads").split())
            # Otherwise it was removed in the meantime.
    return sorted(found - {0})


def _process_of(thread: str) -> int:
    """Return the process that a thread belongs to (proc_pid_status(5), Tgid); 0 if it has ended."""
    for line in text_of(f"/proc/{thread}", "status").splitlines():
        if line.startswith("Tgid:"):
            return int(line.split()[1])
    return 0


# -- checks -----------------------------------------------------------------------------------------------------------


def check_is_free(directory: str, *, frozen: bool) -> None:
    """Refuse to share a cgroup: limiting, freezing or killing one container would affect the other.

    Raises MinirunError, also if it is `frozen`.
    """
    if found := processes(directory):
        raise MinirunError(
            f"container's cgroup is not empty: {len(found)} process(es) found in {directory}",
            "Each container has a cgroup of its own: choose another linux.cgroupsPath, or end what runs there.",
        )
    if frozen:
        raise MinirunError(
            f"container's cgroup unexpectedly frozen: {directory}",
            "A process that enters it would hang. Thaw or remove it.",
        )


def check_exists(directory: str) -> None:
    """Raise MinirunError if there is no cgroup with this directory for a process to enter."""
    if not os.path.isdir(directory):
        problem = f"there is no such cgroup: adding pid to {directory}/cgroup.procs: no such file or directory"
        raise MinirunError(problem, "Make it first: a process enters existing cgroups only.")


def path_below(directory: str, path: str) -> str:
    """Return the directory of a cgroup below another. Raises MinirunError if it is not below."""
    target = os.path.normpath(f"{directory}/{path}")
    if not f"{target}/".startswith(f"{directory}/"):
        raise MinirunError(f"bad sub cgroup path: {path} leads out of the container's own cgroup")
    return target


# -- writing ----------------------------------------------------------------------------------------------------------


def apply(directory: str, settings: list[Setting]) -> None:
    """Write limits into the files of a cgroup. Raises MinirunError that names the field."""
    waiting = list(settings)
    while waiting:
        setting = waiting.pop(0)
        with step(f"limit {setting.file} to {setting.text}", "cgroup", f"{setting.field} asks for it."):
            try:
                write(f"{directory}/{setting.file}", setting.text)
            except FileNotFoundError as error:
                if setting.fallback:
                    waiting.insert(0, setting.fallback)
                elif not setting.optional:
                    raise OSError(
                        error.errno, error.strerror, f"{setting.field}: there is no {directory}/{setting.file}"
                    ) from error
            except OSError as error:
                if any(later.file == setting.after for later in waiting):
                    waiting.append(setting)
                    continue
                raise OSError(error.errno, error.strerror, f"{setting.field}: {error.filename}") from error


def remove_tree(directory: str, deadline: float, end_all: Callable[[str], None]) -> None:
    """Remove a cgroup and those below, unless it was there before the container; call `end_all` while it is busy.

    Raises OSError if it is still busy at `deadline`, of time.monotonic().
    """
    keep = has_attribute(directory, KEEP_ATTRIBUTE)
    look_below = keep  # usually there are no cgroups below, and finding that out takes as long as removing this one
    while True:
        try:
            for below, _, _ in os.walk(directory, topdown=False) if look_below else ((directory, [], []),):
                if not keep or below != directory:
                    remove_directory(below)
            if not keep:
                _remove_if_empty(os.path.dirname(directory))
                return
            if not processes(directory):
                remove_attribute(directory, KEEP_ATTRIBUTE)
                return
        except FileNotFoundError:
            return
        except OSError as error:
            # It is busy as long as a process is in it; a killed one takes a moment to leave.
            if error.errno != errno.EBUSY:
                raise
            busy = error
            if not look_below:
                look_below = True
                continue
        else:
            busy = OSError(errno.EBUSY, os.strerror(errno.EBUSY), directory)
        if time.monotonic() > deadline:
            raise busy
        end_all(directory)
        time.sleep(0.002)


def _remove_if_empty(directory: str) -> None:
    """Remove minirun's common parent after the last container."""
    if os.path.basename(directory) == "minirun":
        try:
            remove_directory(directory)
        except OSError:
            pass  # another container is in it
