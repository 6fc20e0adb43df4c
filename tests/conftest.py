"""What the tests stand on: a host of their own, an outside world, `minirun` to call, and a watch for leftovers.

`host` moves the test process into a mount and a network namespace that stand for a machine: own /run, /var/lib, /etc,
/sys, interfaces and firewall. A test may change anything in there and look at /proc, `ip` or `iptables` directly.

Tests marked `needs_cgroup2` need a machine whose cgroup v2 has the memory, cpu, cpuset and pids controllers. Where this
one has not, they are left out here, and `scripts/test` runs them in the lab VM (see `pytest_runtestloop`). Those marked
`engine` run in both: engines do other things on cgroup v2.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import image_archives
import pytest
from hypothesis import settings
from oci_bundles import Bundle, Oci, host_has_cgroup2, make_bundle

import minirun as package
from minirun.launcher.executables import write as write_executables

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Callable, Generator, Iterator, Sequence

CHECKOUT = Path(__file__).resolve().parent.parent
REPORTS_VARIABLE = "MINIRUN_TEST_REPORTS"

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
PR_SET_CHILD_SUBREAPER = 36

# How long one example takes says more about what else runs on the machine than about the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


# -- which tests run where -------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    about = "a file with tests that need cgroup v2: run it in the lab VM, beside the others (may be repeated)"
    parser.addoption("--lab-vm", action="append", default=[], metavar="FILE", help=about)
    about = "a file with tests marked `engine`: run these in the lab VM, after the others (may be repeated)"
    parser.addoption("--lab-vm-engine", action="append", default=[], metavar="FILE", help=about)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what this machine cannot run (--collect-only shows it); `scripts/test` has the lab VM run it."""
    for item in items:
        if item.path.is_relative_to(CHECKOUT / "tests" / "lab"):
            item.add_marker(pytest.mark.needs_cgroup2)
    if host_has_cgroup2() or config.option.collectonly:
        return
    elsewhere = [item for item in items if item.get_closest_marker("needs_cgroup2")]
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = [item for item in items if item not in elsewhere]


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """With --lab-vm: run the tests of this machine and those of the lab VM at the same time; then the VM's engines.

    Engines come last because they have limits of time, and this machine is busy until then.
    """
    config = session.config
    if hasattr(config, "workerinput") or host_has_cgroup2():
        return (yield)
    with contextlib.ExitStack() as machines:
        files = config.getoption("lab_vm")
        beside = machines.enter_context(LabVm(config, files, "needs_cgroup2", "-n0")) if files else None
        result = yield
        if beside:
            beside.finish()
        if files := config.getoption("lab_vm_engine"):
            machines.enter_context(LabVm(config, files, "engine", "-n2", "--dist=loadfile")).finish()
    return result


class LabVm:
    """The lab VM, running tests of this session.

    It is to this session what a worker is to pytest-xdist: its reports are counted, shown and fail the run as if the
    tests had run here.
    """

    def __init__(self, config: pytest.Config, files: list[str], marker: str, *options: str) -> None:
        arguments = [str(a) for a in config.invocation_params.args if not str(a).startswith("--lab-vm")]
        arguments += [*options, "-m", marker]
        if config.args_source is not pytest.Config.ArgsSource.ARGS:
            arguments += files  # to collect all the other files takes a while under emulation
        # Not the checkout's package, which has no compiled parts, but the installed one.
        inside = f'{REPORTS_VARIABLE}=3 PYTHONSAFEPATH=1 exec {sys.executable} -m pytest "$@" 3>&1 1>&2'
        lab_vm = ["setpriv", "--pdeathsig", "TERM", str(CHECKOUT / "scripts/labvm"), "run", "--timeout", "1800"]
        self.config = config
        self.command = [*lab_vm, "sh", "-c", inside, "pytest", *arguments]

    def __enter__(self) -> LabVm:
        self.reports, self.log = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
        streams = {"stdin": subprocess.DEVNULL, "stdout": self.reports, "stderr": self.log}
        self.machine = subprocess.Popen(self.command, **streams)  # type: ignore[call-overload]
        return self

    def finish(self) -> None:
        """Wait until the VM has run its tests, and add its reports to this session's."""
        code = self.machine.wait()
        self.reports.seek(0)
        self.log.seek(0)
        lines = self.reports.readlines()
        hook = self.config.hook
        for line in lines:
            report = hook.pytest_report_from_serializable(config=self.config, data=json.loads(line))
            report.nodeid += " (lab VM)"
            hook.pytest_runtest_logreport(report=report)
        if not lines or code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            hook.pytest_runtest_logreport(report=lab_failure(code, self.log.read()))

    def __exit__(self, *_: object) -> None:
        self.machine.terminate()
        self.machine.wait()
        self.reports.close()
        self.log.close()


def lab_failure(code: int, log: str) -> pytest.TestReport:
    """Return the report of a lab VM that did not run its tests to the end: that is a failure and never a skip."""
    return pytest.TestReport(
        nodeid="scripts/labvm",
        location=("scripts/labvm", 0, "the lab VM"),
        keywords={},
        outcome="failed",
        longrepr=f"the lab VM did not run the tests that need cgroup v2 (exit status {code}):\n{log}",
        when="call",
    )


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """In the lab VM: hand each report to the machine outside, one JSON object a line."""
    descriptor = os.environ.get(REPORTS_VARIABLE)
    if descriptor and not hasattr(lab_config, "workerinput"):
        data = lab_config.hook.pytest_report_to_serializable(config=lab_config, report=report)
        data.pop("node", None)  # pytest-xdist's worker, where one ran the test
        os.write(int(descriptor), json.dumps(data).encode() + b"\n")


def pytest_configure(config: pytest.Config) -> None:
    global lab_config
    # Whoever starts the tests in the background or by nohup(1) has signals ignored, and so would all that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    lab_config = config


lab_config: pytest.Config


# -- the host --------------------------------------------------------------------------------------------------------


class Host:
    """The machine that tests run minirun on: a mount and a network namespace of this test process.

    `address` is the host's own address towards the outside world, `internet` a network namespace that is that world; it
    answers at `internet_address` and knows no route to containers, so what reaches it has been masqueraded.
    """

    address = "203.0.113.2"
    internet_address = "198.51.100.10"

    def __init__(self) -> None:
        call_kernel("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        call_kernel("unshare", CLONE_NEWNS | CLONE_NEWNET)
        shell = """
            mount --make-rprivate /
            mount -t tmpfs -o mode=755 run /run
            mkdir -p /run/old-cgroup /run/lock
            for place in etc var/lib; do
                changes=/run/overlay/$place
                mkdir -p "$changes/upper" "$changes/work"
                mount -t overlay -o "lowerdir=/$place,upperdir=$changes/upper,workdir=$changes/work" overlay "/$place"
            done
            mkdir -p /var/lib/minirun
            mount -t tmpfs -o mode=711 minirun /var/lib/minirun
            mount -t tmpfs -o mode=755 engines /mnt

            # A sysfs shows the interfaces of the network namespace that it was mounted from.
            mount --rbind /sys/fs/cgroup /run/old-cgroup
            mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
            if [ "$(stat -f -c %T /run/old-cgroup)" = tmpfs ]; then
                # Many hierarchies, below a tmpfs into which Podman writes as if it were one.
                mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
                for hierarchy in /run/old-cgroup/*; do
                    place=/sys/fs/cgroup/${hierarchy##*/}
                    if [ -L "$hierarchy" ]; then
                        cp -P "$hierarchy" "$place"
                    elif mountpoint -q "$hierarchy"; then
                        mkdir "$place"
                        mount --rbind "$hierarchy" "$place"
                    fi
                done
            else
                mount --rbind /run/old-cgroup /sys/fs/cgroup
            fi
            umount --lazy /run/old-cgroup
            rmdir /run/old-cgroup

            ip link set lo up
            ip netns add internet
            ip link add eth0 type veth peer name uplink netns internet
            ip address add 203.0.113.2/24 dev eth0
            ip link set eth0 up
            ip -n internet link set lo up
            ip -n internet address add 203.0.113.1/24 dev uplink
            ip -n internet address add 198.51.100.10/32 dev lo
            ip -n internet link set uplink up
            ip route add default via 203.0.113.1
            rm -f /etc/resolv.conf
            echo nameserver 198.51.100.10 > /etc/resolv.conf
        """
        subprocess.run(["sh", "-eu", "-c", shell], check=True, stdin=subprocess.DEVNULL)

    def in_internet(self, *command: str) -> list[str]:
        """Return the command line that runs `command` out in the internet."""
        return ["ip", "netns", "exec", "internet", *command]


def call_kernel(name: str, *arguments: int) -> None:
    """Call a C library function for which Python 3.11 has none."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def descendants() -> set[int]:
    """Return the living processes that come from this test process, the orphaned ones too (it is their subreaper)."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                after_name = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended meanwhile
            if after_name[0] not in "ZX":
                parents[int(entry)] = int(after_name[1])
    found = {os.getpid()}
    grown = True
    while grown:
        new = {pid for pid, parent in parents.items() if parent in found} - found
        found |= new
        grown = bool(new)
    return found - {os.getpid()}


def reap_orphans() -> None:
    """Do as process 1 does with processes of containers whose parent was killed: reap them.

    A PID namespace ends only when all of its processes are reaped.
    """
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        try:
            status = Path("/proc", pid, "status").read_text()
            numbers = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
            if "State:\tZ" in status and len(numbers) > 1:
                os.waitpid(int(pid), os.WNOHANG)
        except OSError:
            continue  # somebody else has reaped it


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    """Move this test process into a host of its own, for the rest of its life."""
    assert os.geteuid() == 0, "tests that run containers need root: sudo scripts/test"
    yield Host()
    # A process whose parent dies becomes ours, and may have started another one meanwhile: until none is left.
    deadline = time.monotonic() + 30
    while pids := descendants():
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        # The first process of a PID namespace ends only when everybody in there is reaped, an exec'd process by us.
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        assert time.monotonic() < deadline, f"these do not end: {pids}"
        time.sleep(0.01)


@pytest.fixture
def internet(host: Host) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts a program out in the internet; it is ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*command: str) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        started.append(subprocess.Popen(host.in_internet(*command), text=True, **pipes))  # type: ignore[call-overload]
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


# -- calling minirun -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def executables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with `minirun` and `minirun-oci`, made from the package that these tests import."""
    directory = tmp_path_factory.mktemp("bin")
    paths = [str(Path(package.__file__).parent.parent), *(path for path in sys.path if path.endswith("site-packages"))]
    write_executables(str(directory), str(directory), sys.executable, paths)
    return directory


def feed(pipe: IO[bytes], data: bytes) -> None:
    """Write everything into a pipe and close it; its reader may end early."""
    with contextlib.suppress(BrokenPipeError), pipe:
        pipe.write(data)


class Minirun:
    """Calls minirun as a user does: `minirun("run", "--rm", "busybox", "true").stdout`."""

    def __init__(self, executable: Path) -> None:
        self.executable = executable
        self._started: list[subprocess.Popen[bytes]] = []

    def __call__(
        self,
        *arguments: str | Path,
        input: str | bytes | None = None,  # noqa: A002 - as subprocess.run has it
        check: bool = True,
        timeout: float = 60,
        env: dict[str, str] | None = None,
        cwd: str | Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. With `check`, a status other than 0 fails the test and shows standard error.

        Standard input is empty unless `input` is given. Output is decoded as UTF-8; other bytes become surrogates.
        """
        done = self.raw(*arguments, input=input, check=check, timeout=timeout, env=env, cwd=cwd)
        stdout, stderr = (stream.decode(errors="surrogateescape") for stream in (done.stdout, done.stderr))
        return subprocess.CompletedProcess(done.args, done.returncode, stdout, stderr)

    def raw(
        self,
        *arguments: str | Path,
        input: str | bytes | None = None,  # noqa: A002
        check: bool = True,
        timeout: float = 60,
        env: dict[str, str] | None = None,
        cwd: str | Path | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command as `__call__` does, and leave its output as bytes."""
        process = self.start(*arguments, stdin=subprocess.PIPE, env=env, cwd=cwd)
        data = input.encode() if isinstance(input, str) else input
        # `communicate` would forget what it has not written by the first timeout.
        pipe, process.stdin = process.stdin, None
        threading.Thread(target=feed, args=(pipe, data or b""), daemon=True).start()
        deadline = time.monotonic() + timeout
        stdout = stderr = None
        while stdout is None and time.monotonic() < deadline:
            try:
                stdout, stderr = process.communicate(timeout=0.5)
            except subprocess.TimeoutExpired:
                reap_orphans()
        if stdout is None:
            process.kill()
            stdout, stderr = process.communicate(timeout=5)
            pytest.fail(f"{self.line(arguments)} still ran after {timeout} s\nstdout: {stdout!r}\nstderr: {stderr!r}")
        if check and process.returncode != 0:
            pytest.fail(f"{self.line(arguments)} ended with {process.returncode}\n{stderr.decode(errors='replace')}")
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def start(
        self,
        *arguments: str | Path,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        env: dict[str, str] | None = None,
        cwd: str | Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a command and return at once; what still runs when the test ends is killed."""
        command = [str(self.executable), *map(str, arguments)]
        environment = {**os.environ, **env} if env else None
        process = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, env=environment, cwd=cwd)
        self._started.append(process)
        return process

    def inspect(self, name: str) -> dict[str, Any]:
        """Return what `minirun inspect` says about a container."""
        objects: list[dict[str, Any]] = json.loads(self("inspect", name).stdout)
        return objects[0]

    def wait_until(self, name: str, path: str, value: object, timeout: float = 30) -> None:
        """Wait until a field of `inspect`, such as "State.Status", has a value."""
        found: Any = None
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            found = self.inspect(name)
            for key in path.split("."):
                found = found[key]
            if found == value:
                return
            time.sleep(0.05)
        pytest.fail(f"{path} of {name} is {found!r} and did not become {value!r} within {timeout} s")

    @staticmethod
    def line(arguments: Sequence[str | Path]) -> str:
        return " ".join(["minirun", *map(str, arguments)])

    def close(self) -> None:
        """Kill what was started, and remove every container."""
        for process in self._started:
            process.kill()
            process.wait()
            # Not read to their end: something that stayed behind may still hold the other one.
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        containers = Path("/var/lib/minirun/containers")
        if containers.is_dir() and (ids := [entry.name for entry in containers.iterdir() if len(entry.name) == 64]):
            self._started = []
            self("rm", "--force", *ids)


@pytest.fixture
def minirun(host: Host, executables: Path) -> Iterator[Minirun]:  # noqa: ARG001 - it runs on that host
    """Return what calls minirun on the test's host; afterwards every container is removed."""
    caller = Minirun(executables / "minirun")
    yield caller
    caller.close()


@pytest.fixture(scope="session")
def busybox_rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the root file system of the busybox image as a tar file."""
    path = tmp_path_factory.mktemp("images") / "busybox.tar"
    with path.open("wb") as file:
        subprocess.run([CHECKOUT / "images/build", "busybox", "--tar"], stdout=file, check=True)
    return path


@pytest.fixture(scope="session")
def busybox_image(host: Host, executables: Path, busybox_rootfs: Path) -> str:  # noqa: ARG001
    """Return the name of an image with every busybox command, a `root` and a `user`. Tag it rather than remove it."""
    minirun = [executables / "minirun"]
    subprocess.run([*minirun, "import", "--change", 'CMD ["sh"]', busybox_rootfs, "busybox"], check=True, timeout=60)
    return "busybox"


@pytest.fixture
def make_image(minirun: Minirun, busybox_image: str, busybox_rootfs: Path) -> Callable[..., str]:  # noqa: ARG001
    """Return a function that makes an image of busybox, of further layers and of settings, and returns its name.

    `make_image("hostile", [entry("etc/passwd", kind=tarfile.SYMTYPE, linkname="/x")], Cmd=["id"])`: each layer is a
    list of `image_archives.entry`, the settings are those of an image's config.
    """

    def make(name: str, *layers: list[tuple[tarfile.TarInfo, bytes]], **settings: Any) -> str:
        tars = [busybox_rootfs.read_bytes(), *(image_archives.tar(*layer) for layer in layers)]
        minirun("load", input=image_archives.files(image_archives.docker_archive(tars, name, **settings)))
        return name

    return make


@pytest.fixture
def shell(minirun: Minirun, busybox_image: str) -> Callable[..., str]:
    """Return a function that runs a shell script in a fresh container and returns what it wrote to standard output.

    `shell("-e", "A=1", "echo $A")`: the last argument is the script, the others are options of `run`. Unless they say
    otherwise, there is no network, which is quickest.
    """

    def run(*arguments: str | Path, image: str = busybox_image) -> str:
        *options, script = map(str, arguments)
        network = [] if any(option.startswith("--network") for option in options) else ["--network=none"]
        return minirun("run", "--rm", *network, *options, image, "sh", "-c", script).stdout

    return run


# -- terminals -------------------------------------------------------------------------------------------------------


class Terminal:
    """A program on a terminal of its own, and the person who sits there."""

    def __init__(self, command: Sequence[str], rows: int = 24, columns: int = 80) -> None:
        self._controller, self._terminal = os.openpty()
        self.resize(rows, columns)
        self.settings = termios.tcgetattr(self._terminal)
        self.output = ""
        ends = {"stdin": self._terminal, "stdout": self._terminal, "stderr": self._terminal}
        # setsid(1) makes the terminal the controlling one.
        self.process = subprocess.Popen(["setsid", "--ctty", *command], **ends)  # type: ignore[call-overload]

    def resize(self, rows: int, columns: int) -> None:
        """Change the window's size; the foreground processes get SIGWINCH."""
        termios.tcsetwinsize(self._controller, (rows, columns))

    def send(self, text: str) -> None:
        """Type `text`."""
        os.write(self._controller, text.encode())

    def expect(self, pattern: str, timeout: float = 30) -> re.Match[str]:
        """Wait until the output after the last match matches the regular expression; forget it up to there."""
        deadline = time.monotonic() + timeout
        while not (match := re.search(pattern, self.output)):
            remaining = deadline - time.monotonic()
            if remaining <= 0 or not self._read(remaining):
                pytest.fail(f"the terminal did not show {pattern!r} but {self.output!r}")
        self.output = self.output[match.end() :]
        return match

    def wait(self, timeout: float = 30) -> int:
        """Wait for the program's end and return its exit status; `output` has the rest of what it showed."""
        deadline = time.monotonic() + timeout
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                pytest.fail(f"the program on the terminal still runs; it showed {self.output!r}")
            self._read(0.05)
        while self._read(0):
            pass
        return int(self.process.returncode)

    def is_restored(self) -> bool:
        """Say whether the terminal's settings are what they were before the program ran."""
        return termios.tcgetattr(self._terminal) == self.settings

    def _read(self, timeout: float) -> bool:
        if not select.select([self._controller], [], [], timeout)[0]:
            return False
        self.output += os.read(self._controller, 65536).decode(errors="replace")
        return True

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._controller)
        os.close(self._terminal)


@pytest.fixture
def terminal(minirun: Minirun) -> Iterator[Callable[..., Terminal]]:
    """Return a function that runs minirun on a terminal: `terminal("run", "-it", "busybox", rows=30, columns=100)`.

    With `program`, that runs instead.
    """
    opened: list[Terminal] = []

    def start(*arguments: str, rows: int = 24, columns: int = 80, program: str = "") -> Terminal:
        opened.append(Terminal([program or str(minirun.executable), *arguments], rows, columns))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


# -- what stays behind -----------------------------------------------------------------------------------------------


class Leftovers:
    """Compares the host with how it was; `check()` fails when anything has stayed behind."""

    STORES = ("/run/minirun", "/var/lib/minirun")

    def __init__(self) -> None:
        self.before = self.snapshot()

    def check(self, timeout: float = 5) -> None:
        """Fail if something is there now, and still after `timeout` seconds, that was not there before."""
        deadline = time.monotonic() + timeout
        stayed = self.difference()
        while stayed and time.monotonic() < deadline:
            time.sleep(0.05)
            # What comes and goes belongs to tests beside this one, which share the cgroup hierarchy.
            now = self.difference()
            stayed = {kind: both for kind in stayed if (both := stayed[kind] & now.get(kind, set()))}
        assert not stayed, "stayed behind: " + json.dumps(
            {kind: sorted(things) for kind, things in stayed.items()}, indent=2
        )

    def difference(self) -> dict[str, set[str]]:
        """Return what is there now and was not before, by kind."""
        now = self.snapshot()
        return {kind: new for kind in now if (new := now[kind] - self.before[kind])}

    def snapshot(self) -> dict[str, set[str]]:
        """Return everything that minirun could leave behind, by kind."""
        return {
            "mounts": {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()},
            "interfaces": set(os.listdir("/sys/class/net")),
            "addresses": self._lines("ip", "-oneline", "address", "show", "scope", "global"),
            "rules": self._lines("iptables-save") | self._lines("ip6tables-save"),
            "cgroups": self._cgroups(),
            "processes": {f"{pid} {self._command(pid)}" for pid in descendants()},
            "files": {os.path.join(at, name) for store in self.STORES for at, d, f in os.walk(store) for name in d + f},
        }

    @staticmethod
    def _lines(*command: str) -> set[str]:
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        without_counters = re.sub(r"\[\d+:\d+\]", "", output)
        return {line for line in without_counters.splitlines() if not line.startswith("#")}

    @staticmethod
    def _command(pid: int) -> str:
        try:
            return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
        except OSError:
            return ""

    @staticmethod
    def _cgroups() -> set[str]:
        """Return minirun's cgroups, without those in which processes of other tests run."""
        ours = descendants()
        found = set()
        for directory, _, _ in os.walk("/sys/fs/cgroup"):
            # An engine's container; tests of bundles beside this one give theirs other names.
            if re.search(r"/minirun/[0-9a-f]{64}\b", directory):
                try:
                    members = {int(pid) for pid in Path(directory, "cgroup.procs").read_text().split()}
                except OSError:
                    continue  # it has gone meanwhile
                if not members or members & ours:
                    found.add(directory)
        return found


@pytest.fixture
def leftovers(minirun: Minirun, busybox_image: str) -> Leftovers:
    """Return a comparison with the host as it is now, after a first container has come and gone.

    That first one makes what is there to stay: the bridge, minirun's own firewall chains, lock files, directories.
    """
    minirun("run", "--rm", "--volume=/anonymous", busybox_image, "true")
    return Leftovers()


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Return a directory that every user may enter, unlike pytest's own; for bind mounts."""
    path = Path(tempfile.mkdtemp(prefix="minirun-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


# -- bundles -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def oci_template(
    executables: Path, busybox_rootfs: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """Return an unpacked busybox root file system, and the config.json that `minirun-oci spec` writes."""
    directory = tmp_path_factory.mktemp("template")
    (directory / "rootfs").mkdir()
    subprocess.run(["tar", "-xf", busybox_rootfs, "-C", directory / "rootfs"], check=True)
    subprocess.run([executables / "minirun-oci", "spec", "--bundle", directory], check=True)
    return directory / "rootfs", json.loads((directory / "config.json").read_text())


@pytest.fixture
def bundle(oci_template: tuple[Path, dict[str, Any]], scratch: Path) -> Bundle:
    """Return a fresh bundle in a directory that every user may enter."""
    return make_bundle(scratch / "bundle", *oci_template)


@pytest.fixture
def oci(host: Host, executables: Path, tmp_path: Path) -> Iterator[Oci]:  # noqa: ARG001 - it runs on that host
    """Return what calls minirun-oci on the test's host; afterwards every container is deleted."""
    caller = Oci(executables / "minirun-oci", tmp_path / "state")
    yield caller
    caller.close()
