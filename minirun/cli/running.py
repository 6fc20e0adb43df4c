"""`run` and `create` without a word of click: their options as tables, and what is done with them.

What a `run` needs is imported for every container, so this module imports little; `run` makes click commands of it, and
`quick` reads the command lines that are in order without click.
"""

from __future__ import annotations

import os

from minirun.cli.errors import FlagError
from minirun.errors import MinirunError, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minirun.model.container import ContainerRecord, RunRequest
    from minirun.model.layout import Layout

# (flags, help) of the options both commands share. Options end at the image's name: what follows is the container's.
SWITCHES = (
    ("-i/--interactive", "Keep standard input open."),
    ("-t/--tty", "Allocate a terminal."),
    ("-P/--publish-all", "Publish all exposed ports to random ports."),
    ("-q/--quiet", "Print no progress of a pull."),
    ("--rm", "Remove the container and its anonymous volumes when it ends."),
    ("--init", "Run a small init as PID 1 that forwards signals and reaps processes."),
    ("--privileged", "Give the container all capabilities and devices."),
    ("--read-only", "Make the root filesystem read-only."),
    ("--no-healthcheck", "Do not run the image's health check."),
    ("--oom-kill-disable", None),
)
TEXTS = (
    ("--name", "The container's name."),
    ("-w/--workdir", "Work directory inside the container."),
    ("-u/--user", "Run as this user, by names or numbers."),
    ("--entrypoint", "Replace the image's ENTRYPOINT; empty takes it away."),
    ("-h/--hostname", "Host name."),
    ("--domainname", "NIS domain name."),
    ("--network/--net", "bridge (default), none, host or container:NAME."),
    ("-m/--memory", "Memory limit, such as 512m."),
    ("--memory-swap", "Memory and swap together; -1: unlimited swap."),
    ("--memory-reservation", "Memory that is protected under pressure."),
    ("--cpus", "Number of CPUs, such as 1.5."),
    ("--cpuset-cpus", "CPUs to run on, such as 0-2,4."),
    ("--cpuset-mems", "Memory nodes to use."),
    ("--shm-size", "Size of /dev/shm (default 64m)."),
    ("--restart", "When to start it again: no."),
    ("--pull", "When to pull the image: always, missing or never."),
    ("--platform", "Platform of the image (default the host's)."),
    ("--cidfile", "Write the container's id to this file."),
    ("--stop-signal", "Signal of 'stop' (default TERM)."),
    ("--pid", "PID namespace: host or container:NAME."),
    ("--ipc", "IPC namespace: private, shareable, none or host."),
    ("--uts", "UTS namespace: host."),
    ("--cgroupns", "Cgroup namespace: private or host."),
    ("--userns", None),
    ("--log-driver", "json-file or none."),
    ("--runtime", None),
    ("--ip", None),
    ("--ip6", None),
    ("--kernel-memory", None),
    ("--memory-swappiness", None),
    ("--cpu-rt-period", None),
    ("--cpu-rt-runtime", None),
)
NUMBERS = (
    ("-c/--cpu-shares", "CPU weight against other containers (default 1024)."),
    ("--cpu-period", "Length of a CPU period."),
    ("--cpu-quota", "CPU time per period."),
    ("--pids-limit", "How many processes there may be; -1: no limit."),
    ("--stop-timeout", "How long 'stop' waits before it kills."),
)
LISTS = (
    ("-e/--env", "Set a variable; a NAME alone takes minirun's own value."),
    ("--env-file", "Read environment variables from a file."),
    ("-p/--publish", "Give the container's PORT, or PORT/udp, one of the host."),
    ("--expose", "Expose a port or a range."),
    ("-v/--volume", "Mount a directory, a file or, by its name, a volume."),
    ("--mount", "Mount: type=bind|volume|tmpfs, source=..., target=..."),
    ("--tmpfs", "Mount a tmpfs, with options such as size=64m."),
    ("--volumes-from", "Mount what another container mounts."),
    ("--device", "Give a device of the host, under another name if need be."),
    ("--device-cgroup-rule", "Allow devices, such as 'c 1:3 rwm'."),
    ("--ulimit", "Limit of each process, such as nofile=1024."),
    ("--cap-add", "Add a capability, or ALL."),
    ("--cap-drop", "Drop a capability, or ALL."),
    ("--security-opt", "seccomp=unconfined|FILE, no-new-privileges, systempaths=unconfined."),
    ("--group-add", "A further group, by name or number."),
    ("--sysctl", "Kernel parameter of the container's namespaces."),
    ("--dns", "Name server."),
    ("--dns-search", "DNS search domain."),
    ("--dns-option/--dns-opt", "Option of resolv.conf(5)."),
    ("--add-host", "A line of /etc/hosts; the address host-gateway is the host."),
    ("-l/--label", "Keep a word with the container."),
    ("--label-file", "Read labels from a file."),
    ("--annotation", "Hand a word to the OCI runtime."),
    ("-a/--attach", "Attach to stdin, stdout or stderr."),
    ("--log-opt", "Option of the log driver: max-size=10m, max-file=3."),
    ("--network-alias/--net-alias", None),
)
# Those of `run` alone.
RUN_SWITCHES = (
    ("-d/--detach", "Run in the background and print the container's id."),
    ("--sig-proxy", "Forward signals to the container (default true)."),
)
RUN_TEXTS = (("--detach-keys", "Keys that detach from the container (default ctrl-p,ctrl-q)."),)
# What an option is that was not given, where that is not False, None or nothing, by its kind.
DEFAULTS: dict[str, Any] = {"sig_proxy": True, "detach_keys": "", "oom_score_adj": 0}


def run_container(image: str, command: tuple[str, ...], options: dict[str, Any], layout: Layout) -> int:
    """Do what `run` was asked for; return the exit code."""
    streams = _streams(options)
    request = request_of(image, command, options)
    if request.tty and "stdin" in streams and not os.isatty(0):
        raise MinirunError("the input device is not a TTY", "Leave out --tty, or run it from a terminal.", exit_code=1)
    from minirun.engine.container import attaching, starting

    made: list[str] = []

    def note(record: ContainerRecord) -> None:
        made.append(record.id)
        write_cidfile(options["cidfile"], record.id)

    attachment = None
    if not request.detach:
        attachment = attaching.Attachment(streams, options["sig_proxy"], options["detach_keys"])
    try:
        code = starting.run(layout, request, attachment, note)
    except MinirunError as error:
        raise advised(error, layout, image, command) from error
    if request.detach:
        print(made[0])
    return code


def advised(error: MinirunError, layout: Layout, image: str, command: tuple[str, ...]) -> MinirunError:
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
    for sentence in request.warnings(options):
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
    if policy == "always":
        raise MinirunError("--pull always is not supported yet", "Load the image with 'minirun load'.")


def _check_cidfile(path: str | None) -> None:
    if path and os.path.lexists(path):
        raise MinirunError(f"container ID file found, make sure the other container isn't running or delete {path}")


def write_cidfile(path: str | None, container_id: str) -> None:
    """Write the 64 hexadecimal digits, without a new line, as scripts read them."""
    if path:
        with open(path, "x", encoding="ascii") as file:
            file.write(container_id)
