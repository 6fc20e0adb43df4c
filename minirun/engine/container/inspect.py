"""What `minirun inspect` says about a container: the document that Docker's users and tools read fields of."""

from __future__ import annotations

import time

from minirun.engine.network import identity
from minirun.engine.spec.build import MASKED_PATHS, READONLY_PATHS, working_dir
from minirun.engine.spec.environment import DEFAULT_PATH
from minirun.engine.volume import mounts
from minirun.errors import MinirunError
from minirun.network import drivers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minirun.engine.container.status import Status
    from minirun.model.container import ContainerRecord, RunRequest
    from minirun.model.image import ImageConfig
    from minirun.model.layout import Layout
    from minirun.model.network import PortMapping


def container_document(layout: Layout, record: ContainerRecord, status: Status, image: ImageConfig) -> dict[str, Any]:
    """Return Docker's "ContainerJSON" for a container: identity, state, configuration, mounts, network."""
    directory = layout.container(record.id)
    return {
        "Id": record.id,
        "Created": rfc3339(record.created_at),
        "Path": record.command[0],
        "Args": list(record.command[1:]),
        "State": _state(record, status),
        "Image": record.image_id,
        "ResolvConfPath": f"{directory}/resolv.conf",
        "HostnamePath": f"{directory}/hostname",
        "HostsPath": f"{directory}/hosts",
        "LogPath": f"{directory}/container.log" if record.request.log_driver != "none" else "",
        "Name": f"/{record.name}",
        "RestartCount": 0,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": None,
        "HostConfig": _host_config(record.request),
        "GraphDriver": {"Name": "overlay2", "Data": {"UpperDir": f"{directory}/upper", "WorkDir": f"{directory}/work"}},
        "Mounts": mounts.points(layout, record.request.mounts),
        "Config": _config(record, image),
        "NetworkSettings": _network_settings(layout, record, running=status.is_running),
    }


def _state(record: ContainerRecord, status: Status) -> dict[str, Any]:
    ended = status.exit
    return {
        "Status": status.state,
        "Running": status.is_running,
        "Paused": status.state == "paused",
        "Restarting": False,
        "OOMKilled": bool(ended and ended.oom_killed),
        "Dead": False,
        "Pid": status.pid,
        "ExitCode": ended.code if ended else 0,
        "Error": ended.error if ended else "",
        "StartedAt": rfc3339(record.started_at),
        "FinishedAt": rfc3339(ended.finished_at if ended else 0.0),
    }


def _config(record: ContainerRecord, image: ImageConfig) -> dict[str, Any]:
    request = record.request
    ports = [*image.exposed_ports, *request.expose, *(f"{p.container_port}/{p.protocol}" for p in request.ports)]
    entrypoint = image.entrypoint if request.entrypoint is None else request.entrypoint
    command = image.cmd if request.command is None and request.entrypoint is None else request.command
    attached = not request.detach
    return {
        "Hostname": request.hostname or record.id[:12],
        "Domainname": request.domainname,
        "User": request.user or image.user,
        "AttachStdin": attached and request.open_stdin,
        "AttachStdout": attached,
        "AttachStderr": attached,
        "ExposedPorts": {port: {} for port in dict.fromkeys(ports)},
        "Tty": request.tty,
        "OpenStdin": request.open_stdin,
        "StdinOnce": attached and request.open_stdin,
        "Env": _environment(image.env, request.environment),
        "Cmd": list(command) if command else None,
        "Image": record.image,
        "Volumes": mounts.anonymous(request.mounts, image.volumes),
        "WorkingDir": working_dir(request, image) if request.working_dir or image.working_dir else "",
        "Entrypoint": list(entrypoint) if entrypoint else None,
        "OnBuild": None,
        "Labels": image.labels | request.labels,
        "StopSignal": request.stop_signal or image.stop_signal or "SIGTERM",
        "StopTimeout": request.stop_timeout,
    }


def _environment(image: tuple[str, ...], request: tuple[str, ...]) -> list[str]:
    variables: dict[str, str] = {}
    for entry in (*request, *image):
        name, equals, _ = entry.partition("=")
        variables.setdefault(name, entry if equals else "")
    variables.setdefault("PATH", f"PATH={DEFAULT_PATH}")
    return [entry for entry in variables.values() if entry]


def _host_config(request: RunRequest) -> dict[str, Any]:
    resources = request.resources
    return {
        **mounts.asked_for(request.mounts),
        "LogConfig": {"Type": request.log_driver, "Config": request.log_opts},
        "NetworkMode": request.network,
        "PortBindings": _bindings(request.ports),
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "AutoRemove": request.auto_remove,
        "VolumesFrom": list(request.volumes_from) or None,
        "CapAdd": list(request.cap_add) or None,
        "CapDrop": list(request.cap_drop) or None,
        "CgroupnsMode": request.cgroupns_mode or "private",
        "Dns": list(request.dns),
        "DnsOptions": list(request.dns_options),
        "DnsSearch": list(request.dns_search),
        "ExtraHosts": list(request.extra_hosts) or None,
        "GroupAdd": list(request.group_add) or None,
        "IpcMode": request.ipc_mode or "private",
        "OomScoreAdj": request.oom_score_adj,
        "PidMode": request.pid_mode,
        "Privileged": request.privileged,
        "PublishAllPorts": request.publish_all,
        "ReadonlyRootfs": request.read_only,
        "SecurityOpt": _security_options(request) or None,
        "UTSMode": request.uts_mode,
        "UsernsMode": "",
        "ShmSize": request.shm_size,
        "Sysctls": request.sysctls,
        "Runtime": "minirun",
        "Isolation": "",
        "CpuShares": resources.cpu_shares or 0,
        "Memory": resources.memory or 0,
        "NanoCpus": resources.nano_cpus or 0,
        "CgroupParent": "",
        "CpuPeriod": resources.cpu_period or 0,
        "CpuQuota": resources.cpu_quota or 0,
        "CpusetCpus": resources.cpuset_cpus,
        "CpusetMems": resources.cpuset_mems,
        "Devices": [_device(text) for text in request.devices],
        "DeviceCgroupRules": list(request.device_cgroup_rules) or None,
        "MemoryReservation": resources.memory_reservation or 0,
        "MemorySwap": resources.memory_swap or 0,
        "OomKillDisable": False,
        "PidsLimit": resources.pids_limit,
        "Ulimits": [{"Name": limit.name, "Hard": limit.hard, "Soft": limit.soft} for limit in request.ulimits],
        "MaskedPaths": _unless_open(request, MASKED_PATHS),
        "ReadonlyPaths": _unless_open(request, READONLY_PATHS),
        "Init": request.init,
        "Annotations": request.annotations,
    }


def _security_options(request: RunRequest) -> list[str]:
    options = ["no-new-privileges"] if request.no_new_privileges else []
    if request.seccomp:
        options.append(f"seccomp={request.seccomp}")
    return [*options, *(["systempaths=unconfined"] if request.unmask_paths else [])]


def _unless_open(request: RunRequest, paths: tuple[str, ...]) -> list[str]:
    return [] if request.privileged or request.unmask_paths else list(paths)


def _device(text: str) -> dict[str, str]:
    host, container, access = text.split(":")
    return {"PathOnHost": host, "PathInContainer": container, "CgroupPermissions": access}


def _network_settings(layout: Layout, record: ContainerRecord, *, running: bool) -> dict[str, Any]:
    endpoint = record.endpoint if running else None
    mine = {
        "EndpointID": identity.endpoint_id(record) if endpoint else "",
        "Gateway": endpoint.gateway if endpoint and not endpoint.internal else "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": endpoint.address if endpoint else "",
        "IPPrefixLen": endpoint.prefix_length if endpoint else 0,
        "IPv6Gateway": "",
        "MacAddress": endpoint.mac if endpoint else "",
    }
    is_default = record.request.network == drivers.DEFAULT
    nothing = {name: type(value)() for name, value in mine.items()}
    return {
        "Ports": _bindings(endpoint.ports) if endpoint else {},
        **(mine if is_default else nothing),
        "Networks": _networks(layout, record, mine),
    }


def _networks(layout: Layout, record: ContainerRecord, mine: dict[str, Any]) -> dict[str, Any]:
    name, asked = record.request.network, record.request.endpoint
    if drivers.find(name).container:
        return {}
    is_users = name not in drivers.PREDEFINED
    about = {
        "IPAMConfig": {"IPv4Address": asked.address} if asked.address else None,
        "Links": None,
        "Aliases": [*asked.aliases, record.id[:12]] if is_users else None,
        "DriverOpts": None,
        "NetworkID": _network_id(layout, name),
    }
    return {record.endpoint.network if record.endpoint and is_users else name: about | mine}


def _network_id(layout: Layout, name: str) -> str:
    try:
        return identity.find(layout, name).id
    except MinirunError:
        return ""  # it has been removed


def _bindings(ports: tuple[PortMapping, ...]) -> dict[str, list[dict[str, str]]]:
    """Return {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}."""
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in ports:
        bound = {"HostIp": port.host_ip or "0.0.0.0", "HostPort": str(port.host_port or "")}
        bindings.setdefault(f"{port.container_port}/{port.protocol}", []).append(bound)
    return bindings


def rfc3339(seconds: float) -> str:
    """Return a time in UTC as "2024-05-01T12:00:00.123456Z"; 0 is Go's zero time."""
    if not seconds:
        return "0001-01-01T00:00:00Z"
    whole = int(seconds)
    fraction = f"{seconds - whole:.6f}"[1:].rstrip("0").rstrip(".")
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + fraction + "Z"
