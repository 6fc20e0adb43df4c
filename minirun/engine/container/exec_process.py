"""What `exec` runs: the container's own process description with the request's changes."""

from __future__ import annotations

import os

from minirun.engine.spec import users
from minirun.engine.spec.capabilities import oci_capabilities
from minirun.kernel.path import read_file_in_root
from minirun.kernel.privilege import available_capabilities
from minirun.model.spec import Capabilities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.container import ExecRequest
    from minirun.model.spec import Process, Spec


def of_request(request: ExecRequest, spec: Spec, pid: int, console_size: tuple[int, int]) -> Process:
    """Return the process to run beside the one with `pid`. Raises MinirunError for a user that does not exist."""
    if spec.process is None:
        raise ValueError("a running container's bundle has a process")
    main = spec.process
    rows, columns = console_size if request.tty else (0, 0)
    process = main.replace(
        args=request.command,
        cwd=os.path.normpath(request.working_dir) if request.working_dir else main.cwd,
        terminal=request.tty,
        console_rows=rows,
        console_columns=columns,
    )
    environment = list(main.env)
    if request.user:
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            passwd = read_file_in_root(root, "/etc/passwd") or ""
            group = read_file_in_root(root, "/etc/group") or ""
        finally:
            os.close(root)
        user = users.resolve(request.user, (), passwd, group)
        process = process.replace(uid=user.uid, gid=user.gid, additional_gids=(user.gid, *user.groups))
        environment = _with(environment, f"HOME={user.home}")
    granted = available_capabilities() if request.privileged else _granted(main)
    process = process.replace(capabilities=_capabilities(granted, process.uid))
    if request.tty and not any(text.startswith("TERM=") for text in environment):
        environment.append("TERM=xterm")
    for text in request.environment:
        environment = _with(environment, text)
    return process.replace(env=tuple(environment))


def _with(environment: list[str], text: str) -> list[str]:
    """Return the environment with one variable replaced, or without it if the text is a bare name."""
    name = text.partition("=")[0]
    kept = [entry for entry in environment if entry.partition("=")[0] != name]
    return [*kept, text] if "=" in text else kept


def _granted(process: Process) -> frozenset[str]:
    return frozenset(process.capabilities.bounding) if process.capabilities else frozenset()


def _capabilities(granted: frozenset[str], uid: int) -> Capabilities:
    sets = oci_capabilities(granted, uid)
    return Capabilities(**{name: tuple(names) for name, names in sets.items()})
