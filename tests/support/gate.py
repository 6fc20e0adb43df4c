"""Which names each layer of minirun may use, and what a module uses beyond them: the gate to the kernel, from source.

What changes the machine goes through a function of `minirun/kernel/`. So every module that another layer uses, and
every name of a module that has power over the machine, is in a table here; what is in none is a violation. Names are
resolved through `import a as b`, `from a import b as c` and imports within functions.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Modules that may be used freely: they only compute.
COMPUTE = set(
    "__future__ _json base64 binascii bisect collections copy csv datetime errno fnmatch functools gc grp hashlib "
    "itertools json math operator posixpath pwd queue re shlex stat string struct sys textwrap traceback types typing "
    "unicodedata zlib".split()
)
# Of these, only what reads, or changes nothing but the process's own table of descriptors.
READING = {
    "bz2": "BZ2Decompressor",
    "contextlib": "ExitStack closing contextmanager nullcontext suppress",
    "io": "BufferedReader BytesIO StringIO TextIOWrapper",
    "lzma": "LZMADecompressor LZMAError",
    "os": "CLD_EXITED DirEntry EX_OK F_OK O_CLOEXEC O_DIRECTORY O_NOCTTY O_NOFOLLOW O_NONBLOCK O_PATH O_RDONLY "
    "PathLike P_PID P_PIDFD R_OK SEEK_CUR SEEK_DATA SEEK_END SEEK_HOLE SEEK_SET WEXITED WEXITSTATUS WIFEXITED "
    "WIFSIGNALED WIFSTOPPED WNOHANG WNOWAIT WTERMSIG W_OK X_OK _exit access close cpu_count defpath devnull dup dup2 "
    "environ fdopen fsdecode fsencode fspath fstat fstatvfs get_inheritable get_terminal_size getcwd getegid geteuid "
    "getgid getgroups getpgid getpid getppid getresgid getresuid getuid getxattr isatty linesep listdir listxattr "
    "lseek lstat major makedev minor open path pipe pipe2 pread read readlink readv scandir sched_getaffinity sep "
    "set_inheritable stat stat_result statvfs strerror sysconf terminal_size times uname urandom wait waitid waitpid "
    "waitstatus_to_exitcode walk",
    "posix": "O_CLOEXEC O_RDONLY close fstat open pread stat",
    "select": "POLLERR POLLHUP POLLIN POLLNVAL POLLOUT POLLPRI poll",
    "signal": "SIGABRT SIGALRM SIGBUS SIGCHLD SIGCONT SIGFPE SIGHUP SIGILL SIGINT SIGKILL SIGPIPE SIGPWR SIGQUIT "
    "SIGRTMAX SIGRTMIN SIGSEGV SIGSTOP SIGSYS SIGTERM SIGTRAP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGUSR1 SIGUSR2 "
    "SIGWINCH SIGXCPU SIGXFSZ SIG_DFL SIG_IGN Signals default_int_handler getsignal strsignal valid_signals",
    "socket": "AF_INET AF_INET6 AF_UNIX CMSG_LEN CMSG_SPACE MSG_CMSG_CLOEXEC MSG_CTRUNC MSG_DONTWAIT MSG_NOSIGNAL "
    "MSG_PEEK MSG_TRUNC SCM_RIGHTS SHUT_RD SHUT_RDWR SHUT_WR SOCK_CLOEXEC SOCK_DGRAM SOCK_SEQPACKET SOCK_STREAM "
    "SOL_SOCKET SO_PEERCRED SO_RCVBUF inet_ntoa inet_ntop inet_pton recv_fds send_fds socket socketpair",
    "time": "CLOCK_BOOTTIME clock_gettime gmtime localtime monotonic monotonic_ns mktime perf_counter sleep strftime "
    "strptime time time_ns timezone",
    "urllib": "parse",
}
# The parts in C that some modules import in place of the whole.
SAME = {"_signal": "signal", "_socket": "socket"}
# What single layers may use in addition.
OF_LAYER = {
    "build": "calendar difflib signal.signal urllib3",
    "engine": "signal.set_wakeup_fd signal.signal",
    "explain": "signal.signal",
    "cli": "__import__ click platform threading signal.signal",
    "storage": "concurrent marshal threading zstandard",
    "registry": "bcrypt calendar http ipaddress ssl threading tomllib urllib3",
    "network": "dnslib",
    "runtime": "jeepney marshal signal.pause",
    "kernel": "cffi fcntl importlib prctl pyroute2 resource subprocess termios tty",
    "launcher": "_frozen_importlib _frozen_importlib_external ast compile exec importlib marshal",
}  # fmt: skip
BUILT_IN = {"__import__", "eval", "exec", "compile", "breakpoint", "globals", "__builtins__", "__loader__"}


def violations(tree: ast.Module, layer: str) -> set[str]:
    """Return the names a module of a layer uses without being allowed to: "os.fork", "open (for writing)"."""
    reader = _Reader(layer)
    reader.visit(tree)
    return reader.found


def changes(tree: ast.Module) -> dict[str, set[str]]:
    """Return what is changed by those functions of a module of kernel/ that are not operations, by function name.

    Functions named with a leading underscore are parts of others, and left out.
    """
    found = {}
    for outer in tree.body:
        for node in outer.body if isinstance(outer, ast.ClassDef) else [outer]:
            if isinstance(node, ast.FunctionDef) and node.name[0] != "_" and not _is_operation(node):
                reader = _Reader("kernel")
                reader.learn(tree)
                reader.found.clear()
                reader.visit(node)
                if reader.found:
                    found[f"{outer.name}.{node.name}" if isinstance(outer, ast.ClassDef) else node.name] = reader.found
    return found


def _is_operation(function: ast.FunctionDef) -> bool:
    calls = [decorator for decorator in function.decorator_list if isinstance(decorator, ast.Call)]
    return any(isinstance(call.func, ast.Name) and call.func.id == "operation" for call in calls)


def _is_free(name: str, layer: str) -> bool:
    module, _, attribute = name.partition(".")
    layered = OF_LAYER.get(layer, "").split()
    if module in COMPUTE or module == "minirun" or module in layered or name in layered:
        return True
    return attribute.split(".")[0] in READING.get(module, "").split()


def _bound(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> set[str]:
    """Return the names of a function's own variables, without what it imports."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    body = function.body if isinstance(function.body, list) else [function.body]
    names = {argument.arg for argument in every if argument}
    for statement in body:
        names |= {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return names


def _assignments(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield the names that a statement gives values, with the values; `a |= b` gives b."""
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        yield node.target.id, node.value
    elif isinstance(node, ast.Assign):
        yield from ((target.id, node.value) for target in node.targets if isinstance(target, ast.Name))


class _Reader(ast.NodeVisitor):
    def __init__(self, layer: str) -> None:
        self.found: set[str] = set()
        self._layer = layer
        self._names: dict[str, str] = {"open": "open"}
        self._locals: list[set[str]] = []
        self._assigned: dict[str, list[ast.expr]] = {}

    def visit_Module(self, node: ast.Module) -> None:
        self.learn(node)
        self.generic_visit(node)

    def learn(self, node: ast.Module) -> None:
        """Note what a module imports, and what its variables are."""
        for part in ast.walk(node):
            for name, value in _assignments(part):
                self._assigned.setdefault(name, []).append(value)
            if isinstance(part, ast.Import):
                for alias in part.names:
                    self._import(alias.name)
                    top = alias.name if alias.asname else alias.name.split(".")[0]
                    self._names[alias.asname or top] = SAME.get(top, top)
            elif isinstance(part, ast.ImportFrom):
                module = SAME.get(part.module or "", part.module or "")
                self._import(module)
                for alias in part.names:
                    self._names[alias.asname or alias.name] = f"{module}.{alias.name}"
                    self._use(f"{module}.{alias.name}")

    def _import(self, module: str) -> None:
        module = SAME.get(module, module)
        top = module.split(".")[0]
        if module.startswith(("minirun.kernel._native", "minirun.kernel._seccomp")):
            self.found.add(module)
        if top not in READING and not _is_free(top, self._layer):
            self.found.add(top)

    def _use(self, name: str) -> None:
        if name.split(".")[0] in READING and not _is_free(name, self._layer):
            self.found.add(name)
        if name.startswith(("minirun.kernel._native", "minirun.kernel._seccomp")):
            self.found.add(name)

    def _resolve(self, node: ast.expr) -> str:
        """Return the dotted name of what an expression means if that is imported: "os.open"; else ""."""
        if isinstance(node, ast.Attribute):
            owner = self._resolve(node.value)
            return f"{owner}.{node.attr}" if owner else ""
        if isinstance(node, ast.Name) and not any(node.id in names for names in self._locals):
            return self._names.get(node.id, "")
        return ""

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        if not isinstance(node, ast.Lambda):
            for decorator in node.decorator_list:
                self.visit(decorator)
        for default in [*node.args.defaults, *(d for d in node.args.kw_defaults if d)]:
            self.visit(default)
        self._locals.append(_bound(node))
        for statement in node.body if isinstance(node.body, list) else [node.body]:
            self.visit(statement)
        self._locals.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _visit_function  # noqa: N815

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value:  # an annotation is no use
            self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        name = self._resolve(node.func)
        if name in _CHECKED:
            if not _CHECKED[name](self, node):
                self.found.add(f"{name} ({_REFUSED[name]})")
        else:
            self.visit(node.func)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "bind" and not name:
            self.found.add("socket.bind")
        for part in [*node.args, *(keyword.value for keyword in node.keywords)]:
            self.visit(part)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = self._resolve(node)
        if not name:
            self.generic_visit(node)
        elif name in _CHECKED:
            self.found.add(f"{name} (passed on)")
        else:
            self._use(name)

    def visit_Name(self, node: ast.Name) -> None:
        name = self._resolve(node)
        if name in READING or name in _CHECKED:
            self.found.add(f"{name} (passed on)")
        elif name:
            self._use(name)
        elif node.id in BUILT_IN and node.id not in OF_LAYER.get(self._layer, "").split():
            self.found.add(node.id)

    def reads(self, node: ast.Call) -> bool:
        """Say whether a call of `open` or os.fdopen asks for reading only."""
        mode = node.args[1] if len(node.args) > 1 else next((k.value for k in node.keywords if k.arg == "mode"), None)
        if any(k.arg in (None, "opener") for k in node.keywords) or any(isinstance(a, ast.Starred) for a in node.args):
            return False
        return mode is None or (isinstance(mode, ast.Constant) and set(str(mode.value)) <= set("rtb"))

    def has_named_flags(self, node: ast.Call) -> bool:
        """Say whether the flags of os.open are os.O_* by name, so that those that write are found by their names."""
        flags = node.args[1] if len(node.args) > 1 else next((k.value for k in node.keywords if k.arg == "flags"), None)
        return flags is not None and self._are_flags(flags)

    def _are_flags(self, flags: ast.expr) -> bool:
        if isinstance(flags, ast.BinOp):
            return isinstance(flags.op, ast.BitOr) and self._are_flags(flags.left) and self._are_flags(flags.right)
        if isinstance(flags, ast.IfExp):
            return self._are_flags(flags.body) and self._are_flags(flags.orelse)
        if isinstance(flags, ast.Constant):
            return flags.value == 0
        if isinstance(flags, ast.Name):
            values = self._assigned.get(flags.id, [])
            return bool(values) and all(self._are_flags(value) for value in values)
        return self._resolve(flags).startswith("os.O_")

    def is_unix(self, node: ast.Call) -> bool:
        """Say whether a call of socket.socket makes one of AF_UNIX, or takes one that is there."""
        if any(keyword.arg == "fileno" for keyword in node.keywords):
            return True
        family = node.args[0] if node.args else None
        return family is not None and self._resolve(family) == "socket.AF_UNIX"


_CHECKED = {
    "open": _Reader.reads,
    "os.fdopen": _Reader.reads,
    "os.open": _Reader.has_named_flags,
    "socket.socket": _Reader.is_unix,
}
_REFUSED = {
    "open": "for writing",
    "os.fdopen": "for writing",
    "os.open": "flags without a name",
    "socket.socket": "not of AF_UNIX",
}


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Return the groups of modules that import each other in circles."""
    reached = {module: _reach(graph, module) for module in graph}
    groups: list[set[str]] = []
    for module, others in reached.items():
        group = {other for other in others if module in reached[other]}
        if group and group not in groups:
            groups.append(group)
    return groups


def _reach(graph: dict[str, set[str]], start: str) -> set[str]:
    """Return the modules that one imports, directly or not."""
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += graph[module]
    return found


def imported(tree: ast.Module, modules: set[str]) -> Iterator[str]:
    """Yield which of `modules` a module imports, also within functions, but not for annotations only."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield from (name for name in [whole if whole in modules else node.module] if name in modules)
