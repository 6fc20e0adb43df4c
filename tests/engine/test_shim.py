"""A process with threads, such as a server, starts containers too, and several at once."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.commands import Minirun
    from support.leftovers import Leftovers

# A thread that holds a lock forever stands for those of a server: a copy of this process could never take the lock.
SERVER = """
import os, sys, threading
from minirun.engine.container import records, running, starting
from minirun.model.container import ExecRequest, RunRequest
from minirun.model.layout import Layout
from minirun.model.network import PortMapping

image, *names = sys.argv[1:]
layout, errors, ready = Layout(), [], threading.Event()
held = threading.RLock()
threading.Thread(target=lambda: (held.acquire(), ready.set(), threading.Event().wait()), daemon=True).start()
ready.wait()

def copied():
    with held:
        pass

os.register_at_fork(after_in_child=copied)

def serve(name):
    try:
        port = PortMapping(80, 18200 + names.index(name))
        request = RunRequest(image, ("sleep", "1000"), name=name, detach=True, ports=(port,))
        starting.run(layout, request, None, lambda record: None)
        running.execute(layout, records.find(layout, name), ExecRequest(("touch", "/made")), None)
    except BaseException as error:
        errors.append(error)

threads = [threading.Thread(target=serve, args=(name,)) for name in names]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
if errors:
    raise errors[0]
os._exit(0)
"""


def test_threads_of_a_server_start_containers_at_the_same_time(
    minirun: Minirun, busybox_image: str, leftovers: Leftovers
) -> None:
    names = ["first", "second", "third"]
    subprocess.run([sys.executable, "-c", SERVER, busybox_image, *names], check=True, timeout=120)
    for number, name in enumerate(names):
        assert minirun("port", name).stdout.startswith(f"80/tcp -> 0.0.0.0:{18200 + number}")
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("", 18200 + number))
        script = "until [ -e /made ]; do usleep 1000; done; ip -o -4 address show dev eth0"
        assert "inet 10." in minirun("exec", name, "sh", "-c", script).stdout
    minirun("rm", "--force", *names)
    leftovers.check()
