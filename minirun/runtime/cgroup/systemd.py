"""cgroups that systemd makes: a transient scope for each container, asked for over D-Bus.

Where systemd is PID 1 it considers the hierarchy its own; a part of it is handed over to a *delegated* unit, and who
wants one asks for a scope. Sources: https://systemd.io/CGROUP_DELEGATION, org.freedesktop.systemd1(5),
systemd.resource-control(5).

A scope begins with a process that is there already and ends with its last one. The container's first process is not
there yet: clone3 is to make it inside its cgroup. So a *placeholder*, which only sleeps, holds the scope open until the
container is in.

A user without root asks the systemd of their own session (user@.service(5)), which has a part of the hierarchy: its
slices are below that, and its limits are those that were delegated to it.

The socket is systemd's own, the one that systemctl uses for root: it needs no message bus to run.
"""

from __future__ import annotations

import errno
import os

from minirun.errors import MinirunError
from minirun.kernel.files import read
from minirun.kernel.privilege import set_parent_death_signal
from minirun.kernel.process import clone3, close_range, send_signal
from minirun.kernel.trace import step
from minirun.runtime.state import user_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Mapping
    from typing import Any

    from jeepney import Message, Parser

    from minirun.runtime.cgroup.limits import Setting

    Property = tuple[str, tuple[str, Any]]  # name, (D-Bus signature, value)

SOCKET = "/run/systemd/private"
INTERFACE = "org.freedesktop.systemd1.Manager"
TIMEOUT = 30.0  # seconds for one answer
UNLIMITED = 2**64 - 1
IDLE = 0  # as a weight of CPU time, since version 252; a weight ends it
PROPERTY_ANNOTATION = "org.systemd.property."


def place(cgroups_path: str, container_id: str) -> tuple[str, str]:
    """Return the path below the hierarchy's root and the scope's name for "slice:prefix:name". Raises MinirunError."""
    own = user_directory()
    slice_, prefix, name = "user.slice" if own else "system.slice", "minirun", container_id
    if cgroups_path:
        parts = cgroups_path.split(":")
        if len(parts) != 3:
            raise MinirunError(
                f"config.json: linux.cgroupsPath: expected cgroupsPath to be of format "
                f'"slice:prefix:name" for systemd cgroups, got "{cgroups_path}" instead',
                "Without --systemd-cgroup it is a path.",
            )
        slice_, prefix, name = parts[0] or slice_, parts[1], parts[2] or container_id
    if "/" in prefix + name or name.endswith(".slice"):
        raise MinirunError(f"config.json: linux.cgroupsPath: '{prefix}:{name}' is no name of a scope")
    unit = f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    path = f"{_path_of(slice_)}{unit}"
    if own:
        with step("ask the user's systemd for its part of the hierarchy", "cgroup"), _Manager() as manager:
            path = f"{manager.control_group().strip('/')}/{path}"
    return path, unit


def _path_of(slice_: str) -> str:
    """Return a slice's path: "a-b.slice" is a.slice/a-b.slice/ (systemd.slice(5))."""
    name = slice_.removesuffix(".slice")
    if name == "-":
        return ""
    parts = name.split("-")
    if name == slice_ or "/" in name or not all(parts):
        raise MinirunError(f"config.json: linux.cgroupsPath: '{slice_}' is no name of a slice", "Such as system.slice.")
    return "".join("-".join(parts[:end]) + ".slice/" for end in range(1, len(parts) + 1))


def start_scope(unit: str, path: str, settings: Iterable[Setting], annotations: Mapping[str, str]) -> int:
    """Have systemd make a scope, in the last slice of `path`; return the placeholder's pid. Raises MinirunError."""
    slice_ = os.path.basename(path) or "-.slice"
    why = "It owns the hierarchy, and hands this part over to us."
    with step(f"have systemd start {unit}", "cgroup", why), _Manager() as manager:
        placeholder = _start_placeholder()
        try:
            properties: list[Property] = [
                ("Description", ("s", f"minirun container {unit}")),
                ("Slice", ("s", slice_)),
                ("Delegate", ("b", True)),
                ("PIDs", ("au", [placeholder])),
                *((f"{name}Accounting", ("b", True)) for name in ("Memory", "CPU", "IO", "Tasks")),
                ("DefaultDependencies", ("b", False)),
                # Devices are for the container's own program, which can tell what systemd's rules cannot.
                ("DevicePolicy", ("s", "auto")),
                *properties_of(settings),
                *_annotated(annotations),
            ]
            manager.start_transient_unit(unit, properties)
        except BaseException:
            send_signal(placeholder, 9)
            os.waitpid(placeholder, 0)
            raise
    return placeholder


def _start_placeholder() -> int:
    """Start a process that only sleeps, and does not outlive this one; return its pid."""
    import signal

    parent = os.getpid()
    pid, pidfd = clone3(0)
    if pid == 0:
        try:
            set_parent_death_signal(signal.SIGKILL)
            close_range(0, 2**32 - 1)  # it keeps nothing open that others wait to see closed
            while os.getppid() == parent:
                signal.pause()
        finally:
            os._exit(1)
    os.close(pidfd)
    return pid


def set_properties(unit: str, settings: Iterable[Setting]) -> None:
    """Tell systemd of changed limits, which it would put back to its own at a reload otherwise. Raises MinirunError."""
    properties = properties_of(settings)
    if properties:
        with step(f"tell systemd the limits of {unit}", "cgroup"), _Manager() as manager:
            manager.call("SetUnitProperties", "sba(sv)", (unit, True, properties))


def stop_scope(unit: str) -> None:
    """Have systemd forget a scope; not an error if it has already. Raises MinirunError."""
    if not _runs_here():
        return
    with step(f"have systemd stop {unit}", "cgroup"), _Manager() as manager:
        manager.stop_unit(unit)


# -- limits as properties ---------------------------------------------------------------------------------------------

_NUMBERS = {
    "memory.max": "MemoryMax",
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.min": "MemoryMin",
    "memory.swap.max": "MemorySwapMax",
    "cpu.weight": "CPUWeight",
    "io.weight": "IOWeight",
    "pids.max": "TasksMax",
    # Of cgroup v1, on a hybrid host.
    "memory.limit_in_bytes": "MemoryLimit",
    "cpu.shares": "CPUShares",
    "blkio.weight": "BlockIOWeight",
}
_LISTS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}


def properties_of(settings: Iterable[Setting]) -> list[Property]:
    """Translate limits into properties of a unit; systemd has none for the others, which are written directly."""
    properties: list[Property] = []
    bandwidth = {}
    for setting in settings:
        text = setting.text.strip()
        text = "max" if text == "-1" else text  # v1's word for no limit
        if setting.file in _NUMBERS and (text == "max" or text.isdigit()):
            properties.append((_NUMBERS[setting.file], ("t", UNLIMITED if text == "max" else int(text))))
        elif setting.file == "cpu.idle" and text == "1":
            properties.append(("CPUWeight", ("t", IDLE)))
        elif setting.file in ("cpu.cfs_quota_us", "cpu.cfs_period_us"):
            bandwidth[setting.file] = text
        elif setting.file == "cpu.max":
            properties += _quota(text, setting.field)
        elif setting.file in _LISTS:
            properties.append((_LISTS[setting.file], ("ay", bits_of(text, setting.field))))
    if bandwidth:
        quota, period = bandwidth.get("cpu.cfs_quota_us", "max"), bandwidth.get("cpu.cfs_period_us", "")
        properties += _quota(f"{quota} {period}", "linux.resources.cpu")
    return properties


def _quota(text: str, field: str) -> list[Property]:
    quota, period = _bandwidth(text, field)
    per_second = UNLIMITED if quota == "max" else _per_second(int(quota), period)
    return [("CPUQuotaPerSecUSec", ("t", per_second)), ("CPUQuotaPeriodUSec", ("t", period))]


def _bandwidth(text: str, field: str) -> tuple[str, int]:
    """Return the quota, a number or "max", and the period. Raises MinirunError that names the field."""
    quota, _, period = text.strip().partition(" ")
    if (quota != "max" and not quota.isdigit()) or (period and (not period.isdigit() or not int(period))):
        raise MinirunError(f"config.json: {field} '{text}' is not a quota and a period", "Such as 50000 100000.")
    return quota, int(period or 100_000)


def _per_second(quota: int, period: int) -> int:
    """Return a quota in microseconds of each second, in hundredths of a CPU as systemd counts.

    It is rounded up, so that it never allows less than was asked for.
    """
    return -(-quota * 1_000_000 // period // 10_000) * 10_000


def rounded(settings: Iterable[Setting]) -> list[Setting]:
    """Return limits with a quota as systemd will have it: another one would change with the scope's next change."""
    return [_rounded(setting) if setting.file == "cpu.max" else setting for setting in settings]


def _rounded(setting: Setting) -> Setting:
    quota, period = _bandwidth(setting.text, setting.field)
    if quota == "max":
        return setting
    return setting.replace(text=f"{_per_second(int(quota), period) * period // 1_000_000} {period}")


def bits_of(text: str, field: str) -> bytes:
    """Return a list such as "0-2,7" as a mask, lowest byte first. Raises MinirunError that names the field."""
    mask = 0
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or int(last or first) > 65535:
            raise MinirunError(f"config.json: {field} '{text}' is not a list such as 0-2,7")
        mask |= sum(1 << number for number in range(int(first), int(last or first) + 1))
    return mask.to_bytes(max(1, -(-mask.bit_length() // 8)), "little")


def _annotated(annotations: Mapping[str, str]) -> list[Property]:
    """Return what annotations such as org.systemd.property.TimeoutStopUSec: "uint64 123" ask for."""
    found = []
    for key, text in annotations.items():
        if key.startswith(PROPERTY_ANNOTATION):
            name, value = key.removeprefix(PROPERTY_ANNOTATION), _parse_value(key, text.strip())
            if name.endswith("Sec") and not name.endswith("USec"):
                # D-Bus knows microseconds only.
                name, value = f"{name[:-3]}USec", ("t", int(float(value[1]) * 1_000_000))
            found.append((name, value))
    return found


_INTEGERS = {"int32": "i", "uint32": "u", "int64": "x", "uint64": "t"}


def _parse_value(key: str, text: str) -> tuple[str, Any]:
    """Read a value in GVariant's text form, as far as properties of units use it. Raises MinirunError."""
    word, _, number = text.partition(" ")
    if text in ("true", "false"):
        return "b", text == "true"
    if len(text) >= 2 and text[0] in "'\"" and text[-1] == text[0]:
        return "s", text[1:-1]
    if word in _INTEGERS and number.strip().removeprefix("-").isdigit():
        return _INTEGERS[word], int(number)
    if text.removeprefix("-").isdigit():
        return "i", int(text)
    raise MinirunError(
        f"config.json: annotation {key}: cannot read the value {text}", "Write 'text', true, 5 or uint64 5."
    )


# -- D-Bus ------------------------------------------------------------------------------------------------------------


class _RefusalError(Exception):
    """systemd has answered a call with an error; `name` is that of D-Bus."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name.rpartition(".")[2]


def _socket_path() -> str:
    """Return where systemd listens, the machine's or the user's; it may not be there."""
    own = user_directory()
    return f"{own}/systemd/private" if own else SOCKET


def _runs_here() -> bool:
    """Say whether there is a systemd to ask: PID 1 (sd_booted(3)), or the user's."""
    return os.path.exists(_socket_path()) if user_directory() else os.path.isdir("/run/systemd/system")


def _connect() -> socket.socket:
    import socket

    path = _socket_path()
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(TIMEOUT)
    try:
        connection.connect(path)
    except OSError as error:
        connection.close()
        raise OSError(error.errno, error.strerror or str(error), f"connect to {path}") from error
    return connection


def _uid_outside() -> int:
    """Return this user's number outside of this user namespace: the one that systemd sees (user_namespaces(7))."""
    own = os.geteuid()
    for line in read("/proc/self/uid_map").splitlines():
        inside, outside, count = map(int, line.split())
        if inside <= own < inside + count:
            return outside + own - inside
    return own


class _Manager:
    """systemd's manager object, on a connection of its own."""

    _socket: socket.socket
    _parser: Parser

    def __enter__(self) -> _Manager:
        from jeepney import Parser

        if not _runs_here():
            who = "a systemd of this user's does not run" if user_directory() else "systemd does not run this machine"
            raise MinirunError(
                f"{who}, so it can make no cgroup",
                "Leave out --systemd-cgroup (crun: --cgroup-manager=cgroupfs).",
            )
        self._parser = Parser()
        self._serial = 0
        self._results: dict[str, str] = {}  # of jobs that have ended, by the job's path
        self._socket = _connect()
        try:
            self._introduce()
        except BaseException:
            self._socket.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _introduce(self) -> None:
        """Authenticate as the user that the kernel says we are (D-Bus specification, "Authentication Protocol").

        BEGIN goes out together with the rest, and no message before the answer is here. systemd reads up to 256 bytes
        at once as long as the greeting is not over: of a short message that came close behind BEGIN it would learn
        only when more comes.
        """
        self._socket.sendall(b"\0AUTH EXTERNAL %s\r\nBEGIN\r\n" % str(_uid_outside()).encode().hex().encode())
        answer = b""
        while b"\r\n" not in answer:
            answer += self._read(4096)
        line, _, rest = answer.partition(b"\r\n")
        if not line.startswith(b"OK "):
            reason = f"systemd does not let us in: {line.decode(errors='replace')}"
            raise PermissionError(errno.EACCES, reason, _socket_path())
        self._parser.add_data(rest)

    def control_group(self) -> str:
        """Return the path of the cgroup that is this systemd's own. Raises MinirunError."""
        arguments = (INTERFACE, "ControlGroup")
        ((_, path),) = self.call("Get", "ss", arguments, "org.freedesktop.DBus.Properties")
        return str(path)

    def start_transient_unit(self, unit: str, properties: list[Property]) -> None:
        """Start a transient unit and wait until it runs. Raises MinirunError."""
        for attempt in (1, 2):
            try:
                self._run_job("StartTransientUnit", "ssa(sv)a(sa(sv))", (unit, "replace", properties, []), unit)
                return
            except _RefusalError as refusal:
                if refusal.name != "UnitExists" or attempt == 2:
                    raise MinirunError(f"systemd refuses to start {unit}: {refusal}") from None
            # One that has failed stays known until it is reset.
            self._ask("ResetFailedUnit", "s", (unit,))

    def stop_unit(self, unit: str) -> None:
        """Stop a unit and forget that it has failed. Raises MinirunError."""
        try:
            self._run_job("StopUnit", "ss", (unit, "replace"), unit)
        except _RefusalError as refusal:
            if refusal.name == "NoSuchUnit":
                return  # it has ended with its last process
            raise MinirunError(f"systemd refuses to stop {unit}: {refusal}") from None
        self._ask("ResetFailedUnit", "s", (unit,))

    def call(
        self, method: str, signature: str, arguments: tuple[Any, ...], interface: str = INTERFACE
    ) -> tuple[Any, ...]:
        """Call a method. Raises MinirunError with systemd's reason."""
        try:
            return self._call(method, signature, arguments, interface)
        except _RefusalError as refusal:
            raise MinirunError(f"systemd refuses {method}: {refusal}") from None

    def _ask(self, method: str, signature: str, arguments: tuple[Any, ...]) -> None:
        """Call a method whose refusal does not matter."""
        try:
            self._call(method, signature, arguments)
        except _RefusalError:
            pass

    def _run_job(self, method: str, signature: str, arguments: tuple[Any, ...], unit: str) -> None:
        """Call a method that answers with a job, and wait for the signal that it is done."""
        (job,) = self._call(method, signature, arguments)
        while job not in self._results:
            self._receive()
        if self._results[job] != "done":
            raise MinirunError(
                f"systemd could not run {method} of {unit}: the job ended as '{self._results[job]}'",
                f"journalctl --unit {unit} may tell why.",
            )

    def _call(
        self, method: str, signature: str, arguments: tuple[Any, ...], interface: str = INTERFACE
    ) -> tuple[Any, ...]:
        from jeepney import DBusAddress, HeaderFields, MessageType, new_method_call

        address = DBusAddress("/org/freedesktop/systemd1", "org.freedesktop.systemd1", interface)
        self._serial += 1
        self._socket.sendall(new_method_call(address, method, signature, arguments).serialise(self._serial))
        while True:
            message = self._receive()
            if message.header.fields.get(HeaderFields.reply_serial) != self._serial:
                continue  # a signal about something else
            if message.header.message_type is MessageType.error:
                name = str(message.header.fields.get(HeaderFields.error_name))
                raise _RefusalError(name, str(message.body[0]) if message.body else name)
            return tuple(message.body)

    def _receive(self) -> Message:
        """Return the next message, and note a job that has ended: that may be told before the job is answered with."""
        from jeepney import HeaderFields

        while (message := self._parser.get_next_message()) is None:
            self._parser.add_data(self._read(self._parser.bytes_desired()))
        if message.header.fields.get(HeaderFields.member) == "JobRemoved":
            _, job, _, result = message.body
            self._results[job] = result
        return message

    def _read(self, size: int) -> bytes:
        """Return up to `size` bytes from systemd, at least one. Raises OSError."""
        try:
            data = self._socket.recv(size)
        except TimeoutError as error:
            raise TimeoutError(errno.ETIMEDOUT, f"no answer within {TIMEOUT:.0f} seconds", _socket_path()) from error
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "systemd has closed the connection", _socket_path())
        return data
