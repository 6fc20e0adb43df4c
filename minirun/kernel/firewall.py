"""Firewall rules, by iptables-restore(8): one batch per change, which takes effect as a whole or not at all.

Whatever `iptables` is on this host is asked (the nf_tables or the legacy one): rules made with the other would work
against those that the host's administrator sees and edits.
"""

from __future__ import annotations

import os

from minirun.errors import MinirunError
from minirun.kernel.trace import operation

# sudo and cron often leave the sbin folders out of PATH, and iptables is there.
SEARCH_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"

# Two processes that change legacy tables at once take turns by a lock (/run/xtables.lock). With nf_tables the kernel
# itself makes changes atomic, and the option is accepted and ignored.
LOCK_SECONDS = 10


@operation(man="iptables-restore(8)", shell="iptables-restore --noflush <<'RULES'\n{batch}RULES")
def restore(batch: str) -> None:
    """Apply a batch in the format of iptables-save(8) to the tables it names, and leave all other rules alone.

    Raises OSError (EINVAL) with iptables' own words when it refuses, MinirunError when there is no iptables.
    """
    _run("iptables-restore", ["--noflush", f"--wait={LOCK_SECONDS}"], batch)


@operation(man="iptables-save(8)", shell="iptables-save --table {table}")
def save(table: str) -> str:
    """Return the rules of a table. Raises OSError, MinirunError when there is no iptables."""
    return _run("iptables-save", ["--table", table], "")


def _find(program: str) -> str:
    for folder in SEARCH_PATH.split(":"):
        if os.access(path := f"{folder}/{program}", os.X_OK):
            return path
    raise MinirunError(
        "iptables is not installed, so no container can be connected to a network",
        "Install it (apt install iptables), or use --network none or --network host.",
    )


def _run(program: str, options: list[str], text: str) -> str:
    """Run an iptables program on `text` and return what it prints.

    Its three streams are files in memory: no pipe can fill up, and nobody waits for more than the program's end.
    """
    streams = [os.memfd_create(name, os.MFD_CLOEXEC) for name in ("rules", "output", "errors")]
    try:
        os.write(streams[0], text.encode())
        os.lseek(streams[0], 0, os.SEEK_SET)
        pid = os.posix_spawn(
            _find(program),
            [program, *options],
            {"PATH": SEARCH_PATH},
            file_actions=[(os.POSIX_SPAWN_DUP2, stream, number) for number, stream in enumerate(streams)],
        )
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        output, errors = (os.pread(stream, os.fstat(stream).st_size, 0).decode() for stream in streams[1:])
    finally:
        for stream in streams:
            os.close(stream)
    if status:
        raise OSError(22, " ".join(errors.split()) or f"exit code {status}", program)
    return output
