"""From what was typed to what is asked for: checks the options of `run` and `create` as Docker does.

`from_options` is the table of contents: one function per theme, each of which reads its options and refuses what makes
no sense. Every error here is a MinirunError with exit code 125.

Rare options are read by modules that are imported only if they are given, so that `run` stays fast.
"""

from __future__ import annotations

from minirun.engine.spec import environment
from minirun.errors import MinirunError
from minirun.model.container import RunRequest
from minirun.model.network import EndpointSettings
from minirun.model.resources import Resources
from minirun.model.signals import parse_signal
from minirun.network import drivers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from minirun.model.container import Ulimit, VolumeMount
    from minirun.model.network import PortMapping

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_LONGEST_HOSTNAME = 63
# Options that Docker has and minirun has not built: refused by name rather than ignored.
NOT_BUILT = {
    "health_cmd": "--health-cmd",
    "health_interval": "--health-interval",
    "health_timeout": "--health-timeout",
    "health_retries": "--health-retries",
    "health_start_period": "--health-start-period",
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
_LIMITS = (
    "memory memory_swap memory_reservation cpus cpu_shares cpu_period cpu_quota cpuset_cpus cpuset_mems pids_limit"
).split()
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
        hostname=_hostname(options["hostname"], options["uts"]),
        domainname=options["domainname"] or "",
        tty=options["tty"],
        open_stdin=options["interactive"],
        detach=options["detach"],
        auto_remove=options["rm"],
        init=options["init"],
        stop_signal=_stop_signal(options["stop_signal"]),
        stop_timeout=options["stop_timeout"],
        network=network,
        endpoint=_endpoint(options),
        ports=_ports(options["publish"]),
        publish_all=options["publish_all"],
        expose=_exposed(options["expose"]),
        dns=_name_servers(options["dns"]),
        dns_search=options["dns_search"],
        dns_options=options["dns_option"],
        extra_hosts=extra_hosts(options["add_host"]),
        mounts=_mounts(options),
        volumes_from=_volumes_from(options["volumes_from"]),
        read_only=options["read_only"],
        shm_size=shm_size(options["shm_size"]),
        devices=_devices(options["device"]),
        device_cgroup_rules=_device_rules(options["device_cgroup_rule"]),
        resources=_limits(options),
        ulimits=ulimits(options["ulimit"]),
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


def warnings(options: Mapping[str, Any], request: RunRequest) -> list[str]:
    """Return a sentence for each option that is accepted and has no effect."""
    sentences = [
        f"{flag} is ignored: cgroup v2 has no equivalent" for name, flag in NO_EQUIVALENT.items() if options.get(name)
    ]
    if (options["publish"] or options["publish_all"]) and drivers.find(
        options["network"] or drivers.DEFAULT
    ).shares_host:
        sentences.append("published ports are discarded when the container uses the host's network")
    if any(mount.mode for mount in request.mounts):
        from minirun.engine.request import mounts

        sentences += mounts.warnings(request.mounts)
    return sentences


# -- names ---------------------------------------------------------------------------------------------------------


def check_name(name: str) -> str:
    """Return a container's name if it is one (Docker: [a-zA-Z0-9][a-zA-Z0-9_.-]+). Raises MinirunError."""
    if len(name) < 2 or name[0] not in _LETTERS or not _LETTERS.union("_.-").issuperset(name):
        raise MinirunError(f"invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return name


def _name(name: str | None) -> str:
    return "" if not name else check_name(name.removeprefix("/"))


def _hostname(name: str | None, uts: str | None) -> str:
    if not name:
        return ""
    if uts == "host":
        raise MinirunError("conflicting options: hostname and the UTS mode")
    if len(name) > _LONGEST_HOSTNAME or not all(map(_is_label, name.split("."))):
        raise MinirunError(f"invalid hostname format: {name}", "Use letters, digits, dots and inner hyphens.")
    return name


def _is_label(text: str) -> bool:
    """Say whether this is one part of a host name: letters and digits, and hyphens in between."""
    return text != "" and {text[0], text[-1]} <= _LETTERS and _LETTERS.union("-").issuperset(text)


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
    name: str = options["network"] or drivers.DEFAULT
    mode = drivers.DEFAULT if name == "default" else name
    drivers.find(mode).validate([flag for flag, value in options.items() if value])
    return mode


def _endpoint(options: Mapping[str, Any]) -> EndpointSettings:
    if not (options["ip"] or options["mac_address"] or options["network_alias"]):
        return EndpointSettings()
    from minirun.engine.request import network

    return network.endpoint(options["ip"] or "", options["mac_address"] or "", options["network_alias"])


def _ports(texts: tuple[str, ...]) -> tuple[PortMapping, ...]:
    if not texts:
        return ()
    from minirun.network.ports import parse_publish

    return tuple(mapping for text in texts for mapping in parse_publish(text))


def _exposed(texts: tuple[str, ...]) -> tuple[str, ...]:
    if not texts:
        return ()
    from minirun.engine.request import network

    return network.exposed(texts)


def _name_servers(texts: tuple[str, ...]) -> tuple[str, ...]:
    if not texts:
        return ()
    from minirun.engine.request import network

    return tuple(network.address(text, "--dns") for text in texts)


def extra_hosts(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Read `--add-host NAME:ADDRESS`, of `build` too. Raises MinirunError."""
    if not texts:
        return ()
    from minirun.network.resolv_files import parse_extra_host

    return tuple(":".join(parse_extra_host(text)) for text in texts)


# -- files ---------------------------------------------------------------------------------------------------------


def _mounts(options: Mapping[str, Any]) -> tuple[VolumeMount, ...]:
    if not any(options[name] for name in ("volume", "mount", "tmpfs", "volume_driver")):
        return ()
    from minirun.engine.request.mounts import from_flags

    return from_flags(options["volume"], options["mount"], options["tmpfs"], options["volume_driver"] or "")


def _volumes_from(texts: tuple[str, ...]) -> tuple[str, ...]:
    if not texts:
        return ()
    from minirun.engine.request.mounts import checked_volumes_from

    return checked_volumes_from(texts)


def shm_size(text: str | None) -> int:
    """Read `--shm-size`, of `build` too: bytes. Raises MinirunError."""
    return _size(text) or 64 << 20


def _size(text: str | None) -> int:
    if not text:
        return 0
    from minirun.engine.sizes import parse_size

    return parse_size(text)


def _devices(texts: tuple[str, ...]) -> tuple[str, ...]:
    if not texts:
        return ()
    from minirun.engine.request.devices import device

    return tuple(map(device, texts))


def _device_rules(texts: tuple[str, ...]) -> tuple[str, ...]:
    if not texts:
        return ()
    from minirun.engine.request.devices import rule

    return tuple(map(rule, texts))


# -- resources and security ----------------------------------------------------------------------------------------


def _limits(options: Mapping[str, Any]) -> Resources:
    if not any(options[name] for name in _LIMITS):
        return Resources()
    from minirun.engine.request.limits import resources

    return resources(options)


def ulimits(texts: tuple[str, ...]) -> tuple[Ulimit, ...]:
    """Read `--ulimit NAME=SOFT[:HARD]`, of `build` too. Raises MinirunError."""
    if not texts:
        return ()
    from minirun.engine.request.limits import ulimit

    return tuple(ulimit(text) for text in texts)


def _security(texts: tuple[str, ...]) -> dict[str, str]:
    if not texts:
        return {}
    from minirun.engine.request.security import security

    return security(texts)


def _sysctls(options: Mapping[str, Any], network: str) -> dict[str, str]:
    if not options["sysctl"]:
        return {}
    from minirun.engine.request.security import sysctls

    return sysctls(options, shares_network=drivers.find(network).shares_host)


def _oom_score_adj(value: int) -> int:
    if not -1000 <= value <= 1000:
        raise MinirunError(f"invalid value {value}, range for oom score adj is [-1000, 1000]")
    return value


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
    if not texts:
        return {}
    from minirun.engine.request.log_options import log_options

    return log_options(texts)


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
