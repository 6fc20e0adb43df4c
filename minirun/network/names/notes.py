"""What a container on a user's network is called: state/network/bridge/names/ID, a JSON file for each.

The command writes it when the container has its address, and removes it with the address. The helper adds where it
listens, so that one that comes after a killed one listens there again. Whoever resolves names finds what has changed by
the directory's time.
"""

from __future__ import annotations

import os
import time

from minirun.errors import DamagedError
from minirun.kernel.hostfiles import TORN, make_private, read_record, remove, replace
from minirun.model import jsontext
from minirun.model.record import Record
from minirun.network import account

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.layout import Layout
    from minirun.model.typed import Address, Pid, Port, Subnet

    Known = dict[str, tuple[tuple[int, int], "Note"]]

# A file system's clock ticks this often at least (a jiffy is 10 ms at most): two changes may have the same time.
_TICK_NS = 20_000_000


class Note(Record):
    """A container in a network: its address there, its names, the first of them its own, and its name servers.

    `options` are for nobody's eyes but its own resolver's. `pid` is a process in its network namespace, whose number is
    `namespace`; the ports are where the helper listens there. Without a process, nobody listens yet.
    """

    network: str
    subnet: Subnet
    address: Address
    names: tuple[str, ...]
    servers: tuple[str, ...] = ()
    internal: bool = False
    pid: Pid = 0
    namespace: int = 0
    udp_port: Port = 0
    tcp_port: Port = 0


def write(layout: Layout, container_id: str, note: Note) -> None:
    """Note a container's names. Raises OSError."""
    make_private(directory := account.names_directory(layout))
    replace(f"{directory}/{container_id}", jsontext.dumps(note.as_dict()))


def read(layout: Layout, container_id: str) -> Note | None:
    """Return a container's note, None where there is none that can be read."""
    try:
        return read_record(f"{account.names_directory(layout)}/{container_id}", Note)
    except (FileNotFoundError, DamagedError):
        return None


def forget(layout: Layout, container_id: str) -> None:
    """Remove a container's note, and the half of one."""
    for name in (container_id, container_id + TORN):
        remove(f"{account.names_directory(layout)}/{name}")


def rename(layout: Layout, container_id: str, name: str) -> None:
    """Give a container another name of its own, if it has any. Raises OSError."""
    if note := read(layout, container_id):
        write(layout, container_id, note.replace(names=(name, *note.names[1:])))


def read_all(layout: Layout, known: Known) -> Known:
    """Return all notes by their containers' ids, with what says whether a file is the same; only others than the known
    ones are read. One that cannot be read is left out."""
    found: Known = {}
    try:
        with os.scandir(account.names_directory(layout)) as entries:
            for entry in entries:
                if entry.name.endswith(TORN):
                    continue
                try:
                    status = entry.stat()
                except FileNotFoundError:
                    continue  # forgotten just now
                stamp = (status.st_ino, status.st_mtime_ns)
                before = known.get(entry.name)
                if before and before[0] == stamp:
                    found[entry.name] = before
                elif note := read(layout, entry.name):
                    found[entry.name] = (stamp, note)
    except FileNotFoundError:
        pass
    return dict(sorted(found.items()))


def state(layout: Layout) -> int:
    """Return a number that is another one after every change, and after none is the same; 0 where there are no notes.

    It is another one, too, where the last change is so recent that the next may have the same time.
    """
    try:
        changed = os.stat(account.names_directory(layout)).st_mtime_ns
    except FileNotFoundError:
        return 0
    now = time.time_ns()
    return now if now - changed < _TICK_NS else changed
