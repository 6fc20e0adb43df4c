"""The gate: outside `minirun/kernel/` nothing changes the machine, and no modules import each other in circles."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from support import gate

PACKAGE = Path(__file__).resolve().parents[2] / "minirun"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text(), str(path)) for name, path in MODULES.items()}


def layer_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("module", [name for name in MODULES if layer_of(name) != "kernel"])
def test_only_kernel_changes_the_machine(module: str) -> None:
    found = gate.violations(TREES[module], layer_of(module))
    assert found == set(), "a function of minirun/kernel/ must do this, or tests/support/gate.py must allow it"


# What kernel/ does without an event. minirun's own files have a module of their own, and so have the plain files of a
# layer, of which there are tens of thousands (kernel/layerfs.py).
UNTOLD_MODULES = {"minirun.kernel.hostfiles", "minirun.kernel.layerfs"}
UNTOLD = {
    # These only ask.
    "minirun.kernel.mount.file_system_type",
    "minirun.kernel.mount.flag_names",
    "minirun.kernel.net.interfaces.interface_address",
    "minirun.kernel.net.interfaces.interface_index",
    "minirun.kernel.net.interfaces.is_up",
    "minirun.kernel.seccomp.architecture_token",
    "minirun.kernel.seccomp.library_version",
    "minirun.kernel.seccomp.native_architecture",
    "minirun.kernel.seccomp.supported_flags",
    # These are about descriptors and signals of this process, and about minirun's own sockets.
    "minirun.kernel.files.event_counter",
    "minirun.kernel.files.open_to_write",
    "minirun.kernel.files.take_events",
    "minirun.kernel.net.tcp.accept",
    "minirun.kernel.net.tcp.hang_up",
    "minirun.kernel.net.tcp.listen",
    "minirun.kernel.net.tcp.send_file",
    "minirun.kernel.session.background.leave_the_caller",
    "minirun.kernel.session.standard_streams.as_text",
    "minirun.kernel.session.standard_streams.complete",
    "minirun.kernel.session.standard_streams.discard_output",
    "minirun.kernel.session.terminal.open_multiplexer",
    "minirun.kernel.sockets.listen",
    "minirun.kernel.sockets.receive_at",
    "minirun.kernel.trace.operation",
}


def test_what_kernel_changes_is_an_operation() -> None:
    modules = {name for name in MODULES if layer_of(name) == "kernel"} - UNTOLD_MODULES
    assert {f"{name}.{function}" for name in modules for function in gate.changes(TREES[name])} == UNTOLD


@pytest.mark.parametrize("module", [name for name in MODULES if layer_of(name) == "kernel"])
def test_kernel_uses_few_modules(module: str) -> None:
    assert {name for name in gate.violations(TREES[module], "kernel") if name.isidentifier()} == set()


def test_an_untold_change_is_caught() -> None:
    source = ast.parse("""
import os
from os import kill as end
from minirun.kernel.trace import operation
@operation(man="chdir(2)")
def told(path): os.chdir(path)
def reads(path): return os.stat(path)
def untold(path): os.chdir(path)
class Some:
    def method(self, pid): end(pid, 9)
""")
    assert gate.changes(source) == {"untold": {"os.chdir"}, "Some.method": {"os.kill"}}


def test_no_modules_import_each_other_in_circles() -> None:
    graph = {name: set(gate.imported(tree, set(MODULES))) - {name} for name, tree in TREES.items()}
    assert gate.circles(graph) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import os\nos.fork()", "os.fork"),
        ("import os\nos.kill(1, 9)", "os.kill"),
        ("import os\nos.mkfifo('x')", "os.mkfifo"),
        ("import os\nos.mknod('x')", "os.mknod"),
        ("import os\nos.chown('x', 0, 0)", "os.chown"),
        ("import os\nos.mkdir('/sys/fs/cgroup/x')", "os.mkdir"),
        ("import os\nos.write(1, b'')", "os.write"),
        ("from os import setns", "os.setns"),
        ("from os import setns as join\njoin(3)", "os.setns"),
        ("import os as system\nsystem.mount('a', 'b')", "os.mount"),
        ("import os\nmount = os.mount\nmount('a', 'b')", "os.mount"),
        ("import os\nsystem = os\nsystem.mount('a', 'b')", "os (passed on)"),
        ("import os\ngetattr(os, 'fork')()", "os (passed on)"),
        ("import os.path\nos.unlink('x')", "os.unlink"),
        ("def later():\n    import os\n    os.fork()", "os.fork"),
        ("from os import *", "os.*"),
        ("import posix\nposix.fork()", "posix.fork"),
        ("from fcntl import ioctl\nioctl(1, 0x5401)", "fcntl"),
        ("import fcntl\nfcntl.ioctl(1, 0x5401)", "fcntl"),
        ("import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)", "socket.AF_NETLINK"),
        ("import socket\nsocket.socket(16, 3, 0)", "socket.socket (not of AF_UNIX)"),
        ("import _socket as s\ns.socket(s.AF_NETLINK, 3, 0)", "socket.AF_NETLINK"),
        ("import _socket as s\ns.socket(s.AF_INET, s.SOCK_STREAM)", "socket.socket (not of AF_UNIX)"),
        ("import socket\nsocket.socket()", "socket.socket (not of AF_UNIX)"),
        ("from socket import socket as make\nmake(16, 3, 0)", "socket.socket (not of AF_UNIX)"),
        ("from socket import socket\nmap(socket, [16])", "socket.socket (passed on)"),
        ("def reserve(port):\n    port.bind(('0.0.0.0', 80))", "socket.bind"),
        ("path = f'{cgroup}/cgroup.procs'\nopen(path, 'w').write('1')", "open (for writing)"),
        ("mode = 'w'\nopen('/sys/fs/cgroup/x/cgroup.procs', mode)", "open (for writing)"),
        ("open('x', mode='a')", "open (for writing)"),
        ("open(*a)", "open (for writing)"),
        ("write = open\nwrite('x', 'w')", "open (passed on)"),
        ("import io\nio.open('x', 'w')", "io.open"),
        ("import os\nos.open('cgroup.procs', os.O_WRONLY)", "os.O_WRONLY"),
        ("import os\nflags = os.O_RDONLY\nflags |= os.O_RDWR\nos.open('x', flags)", "os.O_RDWR"),
        ("import os\nos.open('cgroup.procs', 1)", "os.open (flags without a name)"),
        ("import os\nflags = 1\nos.open('x', flags)", "os.open (flags without a name)"),
        ("import os\nos.open('x', os.O_RDONLY + 1)", "os.open (flags without a name)"),
        ("import os\nreader = os.open\nreader('x', 1)", "os.open (passed on)"),
        ("import os\nos.fdopen(3, 'wb')", "os.fdopen (for writing)"),
        ("from pathlib import Path\nPath('x').write_text('1')", "pathlib"),
        ("import shutil", "shutil"),
        ("import subprocess", "subprocess"),
        ("import ctypes", "ctypes"),
        ("import mmap", "mmap"),
        ("import tempfile", "tempfile"),
        ("import resource\nresource.prlimit(1, 2)", "resource"),
        ("import _posixsubprocess", "_posixsubprocess"),
        ("import signal\nsignal.pidfd_send_signal(3, 9)", "signal.pidfd_send_signal"),
        ("from _signal import raise_signal", "signal.raise_signal"),
        ("import contextlib\ncontextlib.chdir('x')", "contextlib.chdir"),
        ("import time\ntime.clock_settime(0, 0)", "time.clock_settime"),
        ("from pyroute2 import IPRoute", "pyroute2"),
        ("import prctl", "prctl"),
        ("from minirun.kernel._native import lib\nlib.minirun_setns(3, 0)", "minirun.kernel._native"),
        ("from minirun.kernel import _native", "minirun.kernel._native"),
        ("__import__('os').fork()", "__import__"),
        ("exec('import os')", "exec"),
    ],
)
def test_what_passes_by_the_gate_is_caught(source: str, found: str) -> None:
    assert found in gate.violations(ast.parse(source), "runtime")


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.close(os.open('x', os.O_RDONLY | os.O_CLOEXEC))",
        "import os\nflags = os.O_PATH | (0 if a else os.O_NOFOLLOW)\nos.open('x', flags, dir_fd=3)",
        "with open('x', 'rb') as file: file.read()",
        "import os\nfrom os.path import join\nos.path.exists('x')",
        "import socket\nsocket.socketpair(socket.AF_UNIX)\nsocket.socket(socket.AF_UNIX, socket.SOCK_STREAM)",
        "import _socket as socket\nsocket.socket(fileno=3)",
        "import socket\ndef send(channel: socket.socket) -> socket.socket: channel.send(b'')",
        "import signal\ndef send(signal): print(signal)",
        "from minirun.kernel import mount\nmount.bind('a', 'b')",
    ],
)
def test_what_reads_is_free(source: str) -> None:
    assert gate.violations(ast.parse(source), "runtime") == set()


def test_a_layer_may_do_what_another_may_not() -> None:
    source = ast.parse("import click")
    assert gate.violations(source, "cli") == set()
    assert gate.violations(source, "engine") == {"click"}


def test_circles_are_found_through_functions_but_not_through_annotations() -> None:
    sources = {
        "a": "import b",
        "b": "def late():\n    from a import x",
        "c": "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    import d",
        "d": "import c",
    }
    graph = {name: set(gate.imported(ast.parse(source), set(sources))) for name, source in sources.items()}
    assert gate.circles(graph) == [{"a", "b"}]
