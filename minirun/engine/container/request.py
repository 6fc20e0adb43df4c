"""From what was typed to what is asked for: checks the options of `run` and `create` as Docker does.

`from_options` is the table of contents: one function per theme, each of which reads its options and refuses what makes
no sense. Every error here is a MinirunError with exit code 125.
"""

from __future__ import annotations

import os
import re

from minirun.engine.sizes import parse_size
from minirun.engine.spec import environment
from minirun.engine.spec.mount_flags import check_targets, parse_mount, parse_tmpfs, parse_volume
from minirun.errors import MinirunError
from minirun.model.container import RunRequest, Ulimit
from minirun.model.resources import Resources
from minirun.model.signals import parse_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from minirun.model.container import VolumeMount
    from minirun.model.network import PortMapping

MINIMUM_MEMORY = 6 << 20
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_HOST_LABEL = r"[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOSTNAME = re.compile(rf"{_HOST_LABEL}(\.{_HOST_LABEL})*")
_LONGEST_HOSTNAME = 63
_ULIMITS = frozenset(
    "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)
_SYSCTLS = frozenset(
    "kernel.msgmax kernel.msgmnb kernel.msgmni kernel.sem kernel.shmall kernel.shmmax kernel.shmmni "
    "kernel.shm_rmid_forced".split()
)
_SYSCTL_PREFIXES = ("net.", "fs.mqueue.")
# Options that Docker has and minirun has not built: refused by name rather than ignored.
NOT_BUILT = {
    "health_cmd": "--health-cmd",
    "health_interval": "--health-interval",
    "health_timeout": "--health-timeout",
    "health_retries": "--health-retries",
    "health_start_period": "--health-start-period",
    "mac_address": "--mac-address",
    "cgroup_parent": "--cgroup-parent",
    "blkio_weight": "--blkio-weight",
    "device_read_bps": "--device-read-bps",
    "device_write_bps": "--device-write-bps",
    "device_read_iops": "--device-read-iops",
    "device_write_iops": "--device-write-iops",
    "link": "--link",
    "gpus": "--gpus",
    "storage_opt": "--storage-opt",
}
# Options that cgroup v2 has no equivalent of: accepted with a warning, as Docker does.
NO_EQUIVALENT = {
    "kernel_memory": "--kernel-memory",
    "oom_kill_disable": "--oom-kill-disable",
    "memory_swappiness": "--memory-swappiness",
    "cpu_rt_period": "--cpu-rt-period",
    "cpu_rt_runtime": "--cpu-rt-runtime",
}


def from_options(image: str, command: tuple[str, ...], options: Mapping[str, Any]) -> RunRequest:
    """Return what `options` (by their names without dashes: "env_file") ask for. Raises MinirunError.

    Reads what belongs to the caller: its environment, the files that options name, the work directory, the number of
    processors.
    """
    _refuse_not_built(options)
    network = _network(options)
    security = _security(options["security_opt"])
    return RunRequest(
        image=image,
        command=command or None,
        name=_name(options["name"]),
        entrypoint=_entrypoint(options["entrypoint"]),
        environment=environment.from_flags(options["env_file"], options["env"]),
        labels=environment.labels_from_flags(options["label_file"], options["label"]),
        annotations=_annotations(options["annotation"]),
        working_dir=_working_dir(options["workdir"]),
        user=options["user"] or "",
        group_add=options["group_add"],
        hostname=_hostname(options["hostname"], network, options["uts"]),
        domainname=options["domainname"] or "",
        tty=options["tty"],
        open_stdin=options["interactive"],
        detach=options["detach"],
        auto_remove=options["rm"],
        init=options["init"],
        stop_signal=_stop_signal(options["stop_signal"]),
        stop_timeout=options["stop_timeout"],
        network=network,
        ports=_ports(options["publish"]),
        publish_all=options["publish_all"],
        expose=_exposed(options["expose"]),
        dns=tuple(_address(text, "--dns") for text in options["dns"]),
        dns_search=options["dns_search"],
        dns_options=options["dns_option"],
        extra_hosts=tuple(_extra_host(text) for text in options["add_host"]),
        mounts=_mounts(options),
        volumes_from=options["volumes_from"],
        read_only=options["read_only"],
        shm_size=_shm_size(options["shm_size"]),
        devices=tuple(_device(text) for text in options["device"]),
        device_cgroup_rules=tuple(_device_rule(text) for text in options["device_cgroup_rule"]),
        resources=_resources(options),
        ulimits=tuple(_ulimit(text) for text in options["ulimit"]),
        oom_score_adj=_oom_score_adj(options["oom_score_adj"]),
        cap_add=options["cap_add"],
        cap_drop=options["cap_drop"],
        privileged=options["privileged"],
        no_new_privileges=security.get("no-new-privileges", "") == "true",
        seccomp=security.get("seccomp", ""),
        unmask_paths=security.get("systempaths", "") == "unconfined",
        sysctls=_sysctls(options, network),
        pid_mode=_mode("--pid", options["pid"], ("host",)),
        ipc_mode=_mode("--ipc", options["ipc"], ("host", "private", "shareable", "none"), joins=False),
        uts_mode=_mode("--uts", options["uts"], ("host",), joins=False),
        cgroupns_mode=_mode("--cgroupns", options["cgroupns"], ("host", "private"), joins=False),
        log_driver=_log_driver(options["log_driver"]),
        log_opts=_log_options(options["log_opt"]),
        platform=_platform(options["platform"]),
    )


def warnings(options: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each option that is accepted and has no effect."""
    sentences = [
        f"{flag} is ignored: cgroup v2 has no equivalent" for name, flag in NO_EQUIVALENT.items() if options.get(name)
    ]
    if options["network"] == "host" and (options["publish"] or options["publish_all"]):
        sentences.append("published ports are discarded when the container uses the host's network")
    return sentences


# -- names ---------------------------------------------------------------------------------------------------------


def check_name(name: str) -> str:
    """Return a container's name if it is one (Docker: [a-zA-Z0-9][a-zA-Z0-9_.-]+). Raises MinirunError."""
    if not _NAME.fullmatch(name):
        raise MinirunError(f"invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return name


def _name(name: str | None) -> str:
    return "" if not name else check_name(name.removeprefix("/"))


def _hostname(name: str | None, network: str, uts: str | None) -> str:
    if not name:
        return ""
    if network.startswith("container:"):
        raise MinirunError("conflicting options: hostname and the network mode")
    if uts == "host":
        raise MinirunError("conflicting options: hostname and the UTS mode")
    if len(name) > _LONGEST_HOSTNAME or not _HOSTNAME.fullmatch(name):
        raise MinirunError(f"invalid hostname format: {name}", "Use letters, digits, dots and inner hyphens.")
    return name


def _entrypoint(text: str | None) -> tuple[str, ...] | None:
    """None: the image's; "" takes the image's away."""
    if text is None:
        return None
    return (text,) if text else ()


def _working_dir(path: str | None) -> str:
    if path and not path.startswith("/"):
        raise MinirunError(f"the working directory '{path}' is invalid, it needs to be an absolute path")
    return path or ""


def _annotations(texts: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise MinirunError(f"invalid annotation '{name}'", "Write NAME=VALUE.")
    return {name: value for name, _, value in pairs}


def _stop_signal(text: str | None) -> str:
    if text:
        parse_signal(text)
    return text or ""


# -- network -------------------------------------------------------------------------------------------------------


def _network(options: Mapping[str, Any]) -> str:
    name: str = options["network"] or "bridge"
    mode = "bridge" if name == "default" else name
    for flag in ("ip", "ip6", "network_alias"):
        if options[flag]:
            raise MinirunError(
                f"--{flag.replace('_', '-')} is supported on user-defined networks only",
                "Leave it out: the default bridge assigns addresses itself.",
            )
    if mode.startswith("container:"):
        if mode == "container:":
            raise MinirunError("invalid container format container:<name|id>")
        for flag, what in _OWN_NETWORK_ONLY.items():
            if options[flag]:
                raise MinirunError(f"conflicting options: {what} and the container type network mode")
    elif mode not in ("bridge", "none", "host"):
        raise MinirunError(f"network {name} not found", "Use bridge, none, host or container:NAME.")
    return mode


_OWN_NETWORK_ONLY = {
    "dns": "dns",
    "add_host": "custom host-to-IP mapping",
    "publish": "port publishing",
    "publish_all": "port publishing",
    "expose": "port exposing",
}


def _ports(texts: tuple[str, ...]) -> tuple[PortMapping, ...]:
    if not texts:
        return ()
    from minirun.network.ports import parse_publish

    return tuple(mapping for text in texts for mapping in parse_publish(text))


def _exposed(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return "80/tcp" for each port of `--expose 80`, `--expose 8000-8010/udp`."""
    found = []
    for text in texts:
        match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", text.lower())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if match is None or not 1 <= first <= last <= 65535:
            raise MinirunError(f"invalid range format for --expose: {text}", "Write PORT[-PORT][/tcp|/udp].")
        found += [f"{port}/{match[3] or 'tcp'}" for port in range(first, last + 1)]
    return tuple(found)


def _address(text: str, flag: str) -> str:
    from socket import AF_INET, AF_INET6, inet_pton

    bare = text.removeprefix("[").removesuffix("]")
    try:
        inet_pton(AF_INET6 if ":" in bare else AF_INET, bare)
    except (OSError, ValueError):
        raise MinirunError(f"IP address of {flag} is not correctly formatted: {text}") from None
    return bare


def _extra_host(text: str) -> str:
    """Return "NAME:ADDRESS" for `--add-host NAME:ADDRESS` or NAME=ADDRESS; host-gateway stays a word."""
    name, separator, address = text.partition("=")
    if not separator:
        name, separator, address = text.partition(":")
    if not name or not separator or not address:
        raise MinirunError(f"bad format for add-host: '{text}'", "Write NAME:ADDRESS.")
    return f"{name}:{address if address == 'host-gateway' else _address(address, '--add-host')}"


# -- files ---------------------------------------------------------------------------------------------------------


def _mounts(options: Mapping[str, Any]) -> tuple[VolumeMount, ...]:
    mounts = (
        *(parse_volume(text, os.getcwd()) for text in options["volume"]),
        *(parse_mount(text) for text in options["mount"]),
        *(parse_tmpfs(text) for text in options["tmpfs"]),
    )
    check_targets(mounts)
    return mounts


def _shm_size(text: str | None) -> int:
    return (parse_size(text) if text else 0) or 64 << 20


def _device(text: str) -> str:
    """Return "HOST:CONTAINER:MODE" for `--device HOST[:CONTAINER][:MODE]`."""
    host, *more = text.split(":")
    mode = "rwm"
    if more and _is_device_mode(more[-1]):
        mode = more.pop()
    container = more.pop(0) if more else host
    if more or not host.startswith("/") or not container.startswith("/"):
        raise MinirunError(f"invalid device specification: {text}", "Write HOST[:CONTAINER][:rwm] with absolute paths.")
    return f"{host}:{container}:{mode}"


def _is_device_mode(text: str) -> bool:
    return re.fullmatch("[rwm]{1,3}", text) is not None and len(set(text)) == len(text)


def _device_rule(text: str) -> str:
    if not re.fullmatch(r"[acb] ([0-9]+|\*):([0-9]+|\*) [rwm]{1,3}", text):
        raise MinirunError(f"invalid device cgroup format '{text}'", "Write for example 'c 1:3 rwm'.")
    return text


# -- resources -----------------------------------------------------------------------------------------------------


def _resources(options: Mapping[str, Any]) -> Resources:
    memory = _memory(options)
    return Resources(
        memory=memory,
        memory_swap=_memory_swap(options["memory_swap"], memory),
        memory_reservation=_memory_reservation(options["memory_reservation"], memory),
        nano_cpus=_nano_cpus(options),
        cpu_shares=_cpu_shares(options["cpu_shares"]),
        cpu_period=_cpu_period(options["cpu_period"]),
        cpu_quota=_cpu_quota(options["cpu_quota"]),
        cpuset_cpus=_cpuset("--cpuset-cpus", options["cpuset_cpus"]),
        cpuset_mems=_cpuset("--cpuset-mems", options["cpuset_mems"]),
        pids_limit=_pids_limit(options["pids_limit"]),
    )


def _memory(options: Mapping[str, Any]) -> int | None:
    memory = parse_size(options["memory"]) if options["memory"] else 0
    if 0 < memory < MINIMUM_MEMORY:
        raise MinirunError("Minimum memory limit allowed is 6MB", "A process needs more than that to start at all.")
    return memory or None


def _memory_swap(text: str | None, memory: int | None) -> int | None:
    """Memory and swap together: twice the memory unless asked for; -1 is no limit on swap."""
    if not text or text == "0":
        return 2 * memory if memory else None
    if text == "-1":
        return -1
    swap = parse_size(text)
    if memory is None:
        raise MinirunError("You should always set the Memory limit when using Memoryswap limit, see usage")
    if swap < memory:
        raise MinirunError(
            "Minimum memoryswap limit should be larger than memory limit, see usage",
            "--memory-swap counts memory and swap together.",
        )
    return swap


def _memory_reservation(text: str | None, memory: int | None) -> int | None:
    reservation = parse_size(text) if text else 0
    if 0 < reservation < MINIMUM_MEMORY:
        raise MinirunError("Minimum memory reservation allowed is 6MB")
    if memory and reservation > memory:
        raise MinirunError("Minimum memory limit can not be less than memory reservation limit, see usage")
    return reservation or None


def _nano_cpus(options: Mapping[str, Any]) -> int | None:
    """Return `--cpus 1.5` as 1,500,000,000; exact, because 0.1 is no binary fraction."""
    text = options["cpus"]
    if not text:
        return None
    match = re.fullmatch(r"(\d*)\.?(\d{0,9})0*", text)
    if match is None or text == ".":
        raise MinirunError(f"invalid --cpus: failed to parse {text} as a number with at most nine decimals")
    nano = int(match[1] or "0") * 10**9 + int(match[2].ljust(9, "0"))
    available = len(os.sched_getaffinity(0))
    if nano > available * 10**9 or 0 < nano < 10**7:
        raise MinirunError(
            f"range of CPUs is from 0.01 to {available}.00, as there are only {available} CPUs available"
        )
    if nano and options["cpu_period"]:
        raise MinirunError("conflicting options: Nano CPUs and CPU Period cannot both be set")
    if nano and options["cpu_quota"]:
        raise MinirunError("conflicting options: Nano CPUs and CPU Quota cannot both be set")
    return nano or None


def _cpu_shares(shares: int | None) -> int | None:
    if shares is not None and shares < 0:
        raise MinirunError(f"invalid CPU shares ({shares}): value must be a positive integer")
    return shares or None


def _cpu_period(period: int | None) -> int | None:
    if period and not 1000 <= period <= 1_000_000:
        raise MinirunError("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    return period or None


def _cpu_quota(quota: int | None) -> int | None:
    if quota is not None and 0 < quota < 1000:
        raise MinirunError("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    return quota or None


def _cpuset(flag: str, text: str | None) -> str:
    """Check the form "0-2,4" (cpuset(7), List format); whether the host has them is the cgroup's to say."""
    if text and not all(_is_range(part) for part in text.split(",")):
        raise MinirunError(f"invalid value {text} for {flag}", "Write a list such as 0-2,4.")
    return text or ""


def _is_range(text: str) -> bool:
    match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", text)
    return match is not None and int(match[1]) <= int(match[2] or match[1])


def _pids_limit(limit: int | None) -> int | None:
    if limit is not None and limit < -1:
        raise MinirunError(f"invalid --pids-limit: {limit}", "Use a positive number, or -1 for no limit.")
    return limit or None


def _oom_score_adj(value: int) -> int:
    if not -1000 <= value <= 1000:
        raise MinirunError(f"invalid value {value}, range for oom score adj is [-1000, 1000]")
    return value


def _ulimit(text: str) -> Ulimit:
    name, equals, limits = text.partition("=")
    if not equals:
        raise MinirunError(f"invalid ulimit argument: {text}", "Write NAME=SOFT[:HARD], such as nofile=1024.")
    if name not in _ULIMITS:
        raise MinirunError(f"invalid ulimit type: {name}", f"Use one of {', '.join(sorted(_ULIMITS))}.")
    soft_text, _, hard_text = limits.partition(":")
    if not re.fullmatch(r"(-1|\d+)", soft_text) or not re.fullmatch(r"(-1|\d+)?", hard_text) or limits.endswith(":"):
        raise MinirunError(f"invalid ulimit value: {text}", "Write NAME=SOFT[:HARD]; -1 is unlimited.")
    soft = int(soft_text)
    hard = int(hard_text or soft_text)
    if hard != -1 and (soft > hard or soft == -1):
        raise MinirunError(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return Ulimit(name, soft, hard)


# -- security ------------------------------------------------------------------------------------------------------


def _security(texts: tuple[str, ...]) -> dict[str, str]:
    """Read `--security-opt`; a seccomp profile's value is the text of its file."""
    chosen: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator:
            name, separator, value = text.partition(":")
        if name == "no-new-privileges" and (not separator or value in ("true", "false")):
            chosen[name] = value or "true"
        elif name == "seccomp" and value:
            chosen[name] = _seccomp(value)
        elif name == "systempaths" and value == "unconfined":
            chosen[name] = value
        elif name == "apparmor" and value and value != "unconfined":
            raise MinirunError("AppArmor profiles are not built yet", "Use apparmor=unconfined, or leave it out.")
        elif name not in ("apparmor", "label") or not value:
            raise MinirunError(f"invalid --security-opt: '{text}'")
    return chosen


def _seccomp(value: str) -> str:
    if value in ("unconfined", "builtin"):
        return "" if value == "builtin" else value
    import json

    try:
        with open(value, encoding="utf-8") as file:
            text = file.read()
        profile = json.loads(text)
    except OSError as error:
        raise MinirunError(f"opening seccomp profile ({value}) failed: {error.strerror}") from error
    except ValueError as error:
        raise MinirunError(f"decoding seccomp profile ({value}) failed: {error}") from error
    if not isinstance(profile, dict) or "defaultAction" not in profile:
        raise MinirunError(f"decoding seccomp profile ({value}) failed: it has no defaultAction")
    return text


def _sysctls(options: Mapping[str, Any], network: str) -> dict[str, str]:
    sysctls = {}
    for text in options["sysctl"]:
        name, equals, value = text.partition("=")
        if not equals or not (name in _SYSCTLS or name.startswith(_SYSCTL_PREFIXES)) or "/" in name or ".." in name:
            raise MinirunError(
                f"sysctl '{text}' is not allowed",
                "Only what belongs to a namespace: net.*, fs.mqueue.*, kernel.msg*, kernel.sem, kernel.shm*.",
            )
        if name.startswith("net.") and network == "host":
            raise MinirunError(f"sysctl '{text}' is not allowed in the host's network namespace")
        if not name.startswith("net.") and options["ipc"] == "host":
            raise MinirunError(f"sysctl '{text}' is not allowed in the host's IPC namespace")
        sysctls[name] = value
    return sysctls


# -- modes ---------------------------------------------------------------------------------------------------------


def _mode(flag: str, value: str | None, known: tuple[str, ...], *, joins: bool = True) -> str:
    """Check a namespace mode: one of `known`, or container:NAME where namespaces can be joined."""
    value = value or ""
    if value and value not in known and not (joins and value.removeprefix("container:") not in ("", value)):
        more = ("container:NAME",) if joins else ()
        raise MinirunError(f"{flag}: invalid mode: {value}", f"Use {', '.join((*known, *more))}.")
    return value


def _log_driver(name: str | None) -> str:
    if name not in (None, "json-file", "none"):
        raise MinirunError(f"logger: no log driver named '{name}' is registered", "Use json-file or none.")
    return name or "json-file"


def _log_options(texts: tuple[str, ...]) -> dict[str, str]:
    """Check `--log-opt max-size=10m --log-opt max-file=3`: when the log is rotated and how many files are kept."""
    options = {name: value for name, _, value in (text.partition("=") for text in texts)}
    for name, value in options.items():
        if name not in ("max-size", "max-file"):
            raise MinirunError(f"unknown log opt '{name}'", "Use max-size=SIZE and max-file=NUMBER.")
        if name == "max-size" and value != "-1":
            parse_size(value)
        if name == "max-file" and not (value.isascii() and value.isdigit() and int(value)):
            raise MinirunError(f"invalid value for log opt max-file: '{value}'", "Use a number from 1.")
    if "max-file" in options and options.get("max-size", "-1") == "-1" and options["max-file"] != "1":
        raise MinirunError("log opt max-file needs max-size", "Without a size the log is never rotated.")
    return options


def _refuse_not_built(options: Mapping[str, Any]) -> None:
    for name, flag in NOT_BUILT.items():
        if options.get(name):
            raise MinirunError(f"{flag} is not supported yet", "Leave it out.")
    if options["restart"] not in (None, "", "no"):
        _check_restart(options["restart"], auto_remove=options["rm"])
        raise MinirunError(f"--restart {options['restart']} is not supported yet", "Leave it out, or use --restart no.")
    if options["userns"] not in (None, "", "host"):
        raise MinirunError("--userns: user namespaces are not supported yet", "Leave it out, or use --userns host.")
    if options["runtime"] not in (None, "", "minirun"):
        raise MinirunError(f"unknown or invalid runtime name: {options['runtime']}", "Leave --runtime out.")


def _check_restart(policy: str, *, auto_remove: bool) -> None:
    if auto_remove:
        raise MinirunError("conflicting options: cannot specify both --restart and --rm")
    name, colon, count = policy.partition(":")
    if name not in ("always", "on-failure", "unless-stopped") or (colon and not count.isdigit()):
        raise MinirunError(f"invalid restart policy '{policy}'", "Use no, on-failure[:N], always or unless-stopped.")
    if colon and name != "on-failure":
        raise MinirunError("invalid restart policy: maximum retry count can only be used with 'on-failure'")


def _platform(text: str | None) -> str:
    if not text:
        return ""
    from minirun.kernel.cpu import host_platform
    from minirun.model.platform import parse_platform

    return str(parse_platform(text, host_platform()))
