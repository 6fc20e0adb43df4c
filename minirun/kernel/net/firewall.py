"""Firewall rules, by iptables-restore(8): one batch per change, in which each table changes as a whole or not at all.

Whatever `iptables` is on this host is asked (the nf_tables or the legacy one): rules made with the other would work
against those that the host's administrator sees and edits.
"""

from __future__ import annotations

import _socket as socket  # the C part of `socket`, which would bring `selectors` and `enum` along, for 8 ms
import os
import struct
from binascii import crc32

from minirun.errors import MinirunError
from minirun.kernel._native import ffi, lib
from minirun.kernel.trace import operation
from minirun.model.record import Record

# sudo and cron often leave the sbin directories out of PATH, and iptables is there.
SEARCH_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"

# Two processes that change legacy tables at once take turns by a lock (/run/xtables.lock). With nf_tables the kernel
# itself makes changes atomic, and the option is accepted and ignored.
LOCK_SECONDS = 10


@operation(man="iptables-restore(8)", shell="iptables-restore --noflush <<'RULES'\n{batch}RULES")
def restore(batch: str, lock: int) -> None:
    """Apply a batch in the format of iptables-save(8) to the tables it names, and leave all other rules alone.

    The program inherits the descriptor `lock`: if this process is killed, processes that wait for the lock do not get
    it before the change is done. Raises OSError (EINVAL) with iptables' own words when it refuses, MinirunError when
    there is no iptables.
    """
    _run("iptables-restore", ["--noflush", f"--wait={LOCK_SECONDS}"], batch, lock)


@operation(man="iptables-save(8)", shell="iptables-save", returns=lambda text: f"{len(text.splitlines())} lines")
def save() -> str:
    """Return the rules of all tables. Raises OSError, MinirunError when there is no iptables."""
    return _run("iptables-save", [], "")


def _find(program: str) -> str:
    for directory in SEARCH_PATH.split(":"):
        if os.access(path := f"{directory}/{program}", os.X_OK):
            return path
    raise MinirunError(
        "iptables is not installed, so no container can be connected to a network",
        "Install it (apt install iptables), or use --network none or --network host.",
    )


def _run(program: str, options: list[str], text: str, lock: int = -1) -> str:
    """Run an iptables program on `text` and return what it prints.

    Its three streams are files in memory: no pipe can fill up, and nobody waits for more than the program's end.
    """
    streams = [os.memfd_create(name, os.MFD_CLOEXEC) for name in ("rules", "output", "errors")]
    inherited = [*streams, lock] if lock >= 0 else streams
    try:
        os.write(streams[0], text.encode())
        os.lseek(streams[0], 0, os.SEEK_SET)
        pid = os.posix_spawn(
            _find(program),
            [program, *options],
            {"PATH": SEARCH_PATH},
            file_actions=[(os.POSIX_SPAWN_DUP2, stream, number) for number, stream in enumerate(inherited)],
        )
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        output, errors = (os.pread(stream, os.fstat(stream).st_size, 0).decode() for stream in streams[1:])
    finally:
        for stream in streams:
            os.close(stream)
    if status:
        raise OSError(22, " ".join(errors.split()) or f"exit code {status}", program)
    return output


# -- has anything changed? --------------------------------------------------------------------------------------------

# linux/netfilter/nfnetlink.h, nf_tables.h
NETLINK_NETFILTER = 12
NLMSG_ERROR = 2
NLM_F_REQUEST = 0x1
NFT_MSG_GETGEN = 10 << 8 | 16
# linux/netfilter_ipv4/ip_tables.h
IPT_SO_GET_INFO, IPT_SO_GET_ENTRIES = 64, 65
_GETINFO = "=32sI5I5III"  # the name, the valid hooks, their entries and underflows, the number of entries, their size
_GET_ENTRIES = "=32sI4x"
_ENTRY = "=84sIHHI"  # what matches, nfcache, the offsets of the target and of the next entry, where it came from


class Generation(Record):
    """Which state the firewall of a network namespace is in: `nf_tables` counts changes, `legacy` is a digest of the
    legacy tables. Equal ones mean that no rule has changed; asking takes 0.05 ms, where iptables-save takes 5."""

    nf_tables: int
    legacy: str


def generation() -> Generation:
    """Return the state of the rules of this network namespace, whichever iptables made them."""
    return Generation(_nf_tables_generation(), _legacy_digest())


def _nf_tables_generation() -> int:
    """Return how many changes nf_tables has seen (it calls that its generation), 0 in a kernel without it."""
    netfilter = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    try:
        netfilter.send(struct.pack("=IHHIIBBH", 20, NFT_MSG_GETGEN, NLM_F_REQUEST, 0, 0, 0, 0, 0))
        answer = netfilter.recv(4096)
    finally:
        netfilter.close()
    if struct.unpack_from("=IH", answer)[1] == NLMSG_ERROR:
        return 0
    number: int = struct.unpack_from("!I", answer, 24)[0]  # NFTA_GEN_ID comes first
    return number


def _legacy_digest() -> str:
    """Return a digest of each legacy table, without its counters of packets; empty where there is none, as usual."""
    try:
        with open("/proc/net/ip_tables_names", encoding="ascii") as file:
            tables = sorted(file.read().split())
    except FileNotFoundError:
        return ""
    return " ".join(f"{table}:{crc32(_legacy_entries(table)):08x}" for table in tables)


def _legacy_entries(table: str) -> bytes:
    control = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW)
    try:
        info = _getsockopt(control, IPT_SO_GET_INFO, struct.pack(_GETINFO, table.encode(), *[0] * 13))
        size: int = struct.unpack(_GETINFO, info)[-1]
        header = struct.pack(_GET_ENTRIES, table.encode(), size)
        entries = bytearray(_getsockopt(control, IPT_SO_GET_ENTRIES, header + bytes(size))[len(header) :])
    except OSError:
        return os.urandom(8)  # changed between the two questions: then it is another state
    finally:
        control.close()
    offset = 0
    while offset < size:
        following: int = struct.unpack_from(_ENTRY, entries, offset)[3]
        counters = offset + struct.calcsize(_ENTRY)
        entries[counters : counters + 16] = bytes(16)
        offset += following
    return bytes(entries)


def _getsockopt(control: socket.socket, option: int, value: bytes) -> bytes:
    """Call getsockopt(2) with a value that says what is asked for, which Python's own cannot pass. Raises OSError."""
    buffer = ffi.new("char[]", value)
    answer = lib.minirun_getsockopt(control.fileno(), socket.IPPROTO_IP, option, buffer, len(value))
    if answer < 0:
        raise OSError(-answer, os.strerror(-answer), "getsockopt")
    return bytes(ffi.buffer(buffer, len(value)))
