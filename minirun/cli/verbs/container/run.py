"""`run` and `create`: a new container.

What a `run` needs is imported for every container, so this module imports little.
"""

from __future__ import annotations

import os

from minirun.cli.grammar import FlagError, Verb, many, number, switch, text
from minirun.cli.streams import say
from minirun.engine.request.options import NOT_BUILT
from minirun.errors import MinirunError, MissingImageError, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from minirun.cli.call import Call
    from minirun.cli.grammar import Flag, Parsed
    from minirun.model.container import ContainerRecord, RunRequest
    from minirun.model.layout import Layout

    T = TypeVar("T")

# The flags of both verbs, those that minirun has not built among them: they are refused by name.
FLAGS = (
    switch("-i/--interactive", "Keep standard input open."),
    switch("-t/--tty", "Allocate a terminal."),
    switch("-P/--publish-all", "Publish all exposed ports to random ports."),
    switch("-q/--quiet", "Print no progress of a pull."),
    switch("--rm", "Remove the container and its anonymous volumes when it ends."),
    switch("--init", "Run a small init as PID 1 that forwards signals and reaps processes."),
    switch("--privileged", "Give the container all capabilities and devices."),
    switch("--read-only", "Make the root filesystem read-only."),
    switch("--no-healthcheck", "Do not run the image's health check."),
    switch("--oom-kill-disable"),
    text("--name", "The container's name."),
    text("-w/--workdir", "Work directory inside the container."),
    text("-u/--user", "Run as this user, by names or numbers."),
    text("--entrypoint", "Replace the image's ENTRYPOINT; empty takes it away."),
    text("-h/--hostname", "Host name."),
    text("--domainname", "NIS domain name."),
    text("--network/--net", "bridge (default), none, host, container:NAME or a network's name."),
    text("-m/--memory", "Memory limit, such as 512m."),
    text("--memory-swap", "Memory and swap together; -1: unlimited swap."),
    text("--memory-reservation", "Memory that is protected under pressure."),
    text("--cpus", "Number of CPUs, such as 1.5."),
    text("--cpuset-cpus", "CPUs to run on, such as 0-2,4."),
    text("--cpuset-mems", "Memory nodes to use."),
    text("--shm-size", "Size of /dev/shm (default 64m)."),
    text("--restart", "When to start it again: no."),
    text("--pull", "When to pull the image: always, missing or never."),
    text("--platform", "Platform of the image (default the host's)."),
    text("--cidfile", "Write the container's id to this file."),
    text("--stop-signal", "Signal of 'stop' (default TERM)."),
    text("--pid", "PID namespace: host or container:NAME."),
    text("--ipc", "IPC namespace: private, shareable, none or host."),
    text("--uts", "UTS namespace: host."),
    text("--cgroupns", "Cgroup namespace: private or host."),
    text("--userns"),
    text("--volume-driver", "The driver of volumes that -v makes: local."),
    text("--log-driver", "json-file or none."),
    text("--runtime"),
    text("--ip", "Address in the network."),
    text("--mac-address", "MAC address of the container's interface."),
    text("--ip6"),
    text("--kernel-memory"),
    text("--memory-swappiness"),
    text("--cpu-rt-period"),
    text("--cpu-rt-runtime"),
    number("-c/--cpu-shares", "CPU weight against other containers (default 1024)."),
    number("--cpu-period", "Length of a CPU period."),
    number("--cpu-quota", "CPU time per period."),
    number("--pids-limit", "How many processes there may be; -1: no limit."),
    number("--stop-timeout", "How long 'stop' waits before it kills."),
    number("--oom-score-adj", "Adjust the OOM killer's preference.", default=0),
    many("-e/--env", "Set a variable; a NAME alone takes minirun's own value."),
    many("--env-file", "Read environment variables from a file."),
    many("-p/--publish", "Give the container's PORT, or PORT/udp, one of the host."),
    many("--expose", "Expose a port or a range."),
    many("-v/--volume", "Mount a directory, a file or, by its name, a volume."),
    many("--mount", "Mount: type=bind|volume|tmpfs|image, source=..., target=..."),
    many("--tmpfs", "Mount a tmpfs, with options such as size=64m."),
    many("--volumes-from", "Mount what another container mounts."),
    many("--device", "Give a device of the host, under another name if need be."),
    many("--device-cgroup-rule", "Allow devices, such as 'c 1:3 rwm'."),
    many("--ulimit", "Limit of each process, such as nofile=1024."),
    many("--cap-add", "Add a capability, or ALL."),
    many("--cap-drop", "Drop a capability, or ALL."),
    many("--security-opt", "seccomp=unconfined|FILE, no-new-privileges, systempaths=unconfined."),
    many("--group-add", "A further group, by name or number."),
    many("--sysctl", "Kernel parameter of the container's namespaces."),
    many("--dns", "Name server."),
    many("--dns-search", "DNS search domain."),
    many("--dns-option/--dns-opt", "Option of resolv.conf(5)."),
    many("--add-host", "A line of /etc/hosts; the address host-gateway is the host."),
    many("-l/--label", "Keep a word with the container."),
    many("--label-file", "Read labels from a file."),
    many("--annotation", "Hand a word to the OCI runtime."),
    many("-a/--attach", "Attach to stdin, stdout or stderr."),
    many("--log-opt", "Option of the log driver: max-size=10m, max-file=3."),
    many("--network-alias/--net-alias", "A further name, for the others in the network."),
    *(text(flag) for flag in NOT_BUILT.values()),
)
# Those of `run` alone.
RUN_FLAGS = (
    switch("-d/--detach", "Run in the background and print the container's id."),
    switch("--sig-proxy", "Forward signals to the container (default true).", default=True),
    text("--detach-keys", "Keys that detach from the container (default ctrl-p,ctrl-q).", default=""),
)


def options_of(parsed: Parsed, flags: tuple[Flag, ...]) -> dict[str, Any]:
    """Return the values of all flags, given or not, by their names as the engine reads them: "env_file"."""
    return {flag.key.replace("-", "_"): parsed.values.get(flag.key, flag.default) for flag in flags}


def run(call: Call) -> int:
    """Create a container from IMAGE, run COMMAND in it and wait for its end."""
    layout = call.host_layout()
    image, *command = call.arguments
    options = options_of(call, RUN.flags)
    streams = _streams(options)
    request = request_of(image, tuple(command), options)
    if request.tty and "stdin" in streams and not os.isatty(0):
        raise MinirunError("the input device is not a TTY", "Leave out --tty, or run it from a terminal.", exit_code=1)
    from minirun.engine.container import attaching, starting

    made: list[str] = []

    def note(record: ContainerRecord) -> None:
        made.append(record.id)
        _write_cidfile(options["cidfile"], record.id)

    attachment = None
    if not request.detach:
        attachment = attaching.Attachment(streams, options["sig_proxy"], options["detach_keys"])
    try:
        code = _with_image(
            layout,
            image,
            options,
            lambda name: starting.run(layout, request.replace(image=name), attachment, note, attaching.terminal_size()),
        )
    except MinirunError as error:
        raise _advised(error, layout, image, command) from error
    if request.detach:
        say(made[0])
    return code


def create(call: Call) -> None:
    """Create a container from IMAGE without starting it, and print its id."""
    image, *command = call.arguments
    options = options_of(call, FLAGS)
    request = request_of(image, tuple(command), options | {"detach": False})
    layout = call.host_layout()
    from minirun.engine.container import creating

    try:
        record = _with_image(layout, image, options, lambda name: creating.create(layout, request.replace(image=name)))
    except MinirunError as error:
        raise _advised(error, layout, image, command) from error
    _write_cidfile(options["cidfile"], record.id)
    say(record.id)


def _advised(error: MinirunError, layout: Layout, image: str, command: list[str]) -> MinirunError:
    """Return the error of a container that could not be made with a hint at the mistake, if it is a known one."""
    from minirun.cli.help import advice

    if error.message.startswith("Unable to find image"):
        return advice.for_missing_image(error, layout, image)
    return advice.improve(error, f"run {image}", command)


def request_of(image: str, command: tuple[str, ...], options: dict[str, Any]) -> RunRequest:
    """Check the options; what is wrong with them is a flag's error, 125 in `create` too."""
    from minirun.engine.request import options as request

    try:
        checked = request.from_options(image, command, options)
        _check_pull(options["pull"])
        _check_cidfile(options["cidfile"])
    except MinirunError as error:
        raise FlagError(error.message, error.hint) from error
    for sentence in request.warnings(options, checked):
        warn(sentence)
    return checked


def _streams(options: dict[str, Any]) -> frozenset[str]:
    """Return which of stdin, stdout, stderr are the user's: without --attach both outputs, and stdin with -i."""
    asked = frozenset(stream.lower() for stream in options["attach"])
    if asked - {"stdin", "stdout", "stderr"}:
        raise FlagError(f"invalid value for --attach: {min(asked)}", "Use stdin, stdout or stderr.")
    if options["detach"]:
        if asked:
            raise MinirunError("conflicting options: cannot specify both --attach and --detach", exit_code=1)
        return asked
    if "stdin" in asked:
        options["interactive"] = True
    return asked or frozenset({"stdout", "stderr"} | ({"stdin"} if options["interactive"] else set()))


def _check_pull(policy: str | None) -> None:
    if policy not in (None, "", "always", "missing", "never"):
        raise MinirunError(f"invalid pull option: '{policy}'", "Use always, missing or never.")


def _with_image(layout: Layout, image: str, options: dict[str, Any], act: Callable[[str], T]) -> T:
    """Do what needs an image, given its name, after pulling it where --pull says so.

    For an image that is there, nothing is imported. Raises MinirunError.
    """
    policy = options["pull"] or "missing"
    missing = None
    if policy != "always":
        try:
            return act(image)
        except MissingImageError as error:
            if policy == "never":
                raise
            missing = error
    from minirun.cli.verbs.image import pull

    return act(pull.for_container(layout, image, options["platform"] or "", missing, quiet=bool(options["quiet"])))


def _check_cidfile(path: str | None) -> None:
    if path and os.path.lexists(path):
        raise MinirunError(f"container ID file found, make sure the other container isn't running or delete {path}")


def _write_cidfile(path: str | None, container_id: str) -> None:
    """Write the 64 hexadecimal digits, without a new line, as scripts read them."""
    if path:
        from minirun.kernel.hostfiles import write_new

        write_new(path, container_id)


RUN = Verb(
    run,
    (*FLAGS, *RUN_FLAGS),
    "IMAGE [COMMAND [ARG...]]",
    interspersed=False,
    failure_code=125,
    summary="Run a command in a new container",
    examples=(
        ("minirun run --rm -it busybox", "a shell in a new container, which goes when the shell ends"),
        ("minirun run -d --name web -p 8080:80 nginx", "a server in the background, on port 8080 of this host"),
        ('minirun run --rm -v "$PWD":/work -w /work busybox ls', "a command on the files that are here"),
    ),
)
CREATE = Verb(
    create,
    FLAGS,
    "IMAGE [COMMAND [ARG...]]",
    interspersed=False,
    summary="Make a container without starting it",
    examples=(("minirun create --name box busybox sleep 100", "'minirun start box' starts it"),),
)
VERBS = {"run": RUN, "create": CREATE}
