"""Bundles for minirun-oci, a caller that runs it on them, and a look at their cgroups."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
import subprocess
import uuid
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class MountPoint:
    """One line of a mountinfo file (proc_pid_mountinfo(5))."""

    def __init__(self, line: str) -> None:
        before, _, after = line.partition(" - ")
        _, _, self.device, self.root, self.path, options, *peers = before.split(" ")
        self.options = set(options.split(","))
        self.peers = {peer.partition(":")[0] for peer in peers}
        self.fstype, self.source, super_options = after.split(" ", 2)
        self.super_options = set(super_options.split(","))

    @staticmethod
    def all_of(text: str) -> dict[str, MountPoint]:
        """Return the mounts of a mountinfo file by path; of several on one path the topmost."""
        return {mount.path: mount for mount in map(MountPoint, text.splitlines())}


class Bundle:
    """A directory with config.json and a busybox root file system; a change of `config` holds from the next call on."""

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self.path = path
        self.config = config
        self.rootfs = path / "rootfs"

    @property
    def linux(self) -> dict[str, Any]:
        section: dict[str, Any] = self.config["linux"]
        return section

    @property
    def process(self) -> dict[str, Any]:
        section: dict[str, Any] = self.config["process"]
        return section

    def enrich(self, hook: str, moments: Iterable[str]) -> None:
        """Give it a user namespace, a limit, a device, a sysctl, a mount of its own, and `hook` at the `moments`."""
        self.map_users()
        self.limit({"pids": {"limit": 50}})
        source = self.path / "source"
        source.mkdir()
        self.mount("/mnt", source, ("bind", "ro"))
        self.linux["devices"] = [
            {"path": "/dev/own", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 7, "gid": 8}
        ]
        self.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
        self.config["root"]["readonly"] = True
        self.config["hooks"] = {moment: [{"path": hook}] for moment in moments}

    def command(self, script: str) -> Bundle:
        """Have the container run a shell script."""
        self.config["process"]["args"] = ["sh", "-c", script]
        return self

    def limit(self, resources: dict[str, Any]) -> Bundle:
        """Give the container these linux.resources and no others."""
        self.linux["resources"] = resources
        return self

    def cgroup(self, path: str) -> Bundle:
        """Say which cgroup the container gets."""
        self.linux["cgroupsPath"] = path
        return self

    def mount(
        self, destination: str, source: Path | str = "none", options: Iterable[str] = ("bind",), **more: Any
    ) -> Bundle:
        """Add a mount: a bind mount unless `type` says otherwise."""
        entry = {"destination": destination, "type": "bind", "source": str(source), "options": list(options)}
        self.config["mounts"].append(entry | more)
        return self

    def without_mount(self, destination: str) -> Bundle:
        """Take a mount of the template away."""
        self.config["mounts"] = [entry for entry in self.config["mounts"] if entry["destination"] != destination]
        return self

    def namespace(self, kind: str, path: Path | str = "") -> Bundle:
        """Give the container a namespace: a fresh one, or the one at `path`."""
        self.without_namespace(kind)
        self.linux["namespaces"].append({"type": kind} | ({"path": str(path)} if path else {}))
        return self

    def without_namespace(self, kind: str) -> Bundle:
        """Let the container share a namespace with its creator."""
        self.linux["namespaces"] = [entry for entry in self.linux["namespaces"] if entry["type"] != kind]
        return self

    def capabilities(self, *names: str) -> Bundle:
        """Give the command these capabilities and no others."""
        kinds = ("bounding", "effective", "permitted")
        self.config["process"]["capabilities"] = {kind: list(names) for kind in kinds}
        return self

    def map_users(self, host: int = 100_000, size: int = 65536) -> Bundle:
        """Give the container a user namespace, and its root file system to the root of that namespace."""
        self.namespace("user")
        for field in ("uidMappings", "gidMappings"):
            self.linux[field] = [{"containerID": 0, "hostID": host, "size": size}]
        for directory, _, files in os.walk(self.rootfs):
            for name in (directory, *(os.path.join(directory, name) for name in files)):
                os.chown(name, host, host, follow_symlinks=False)
        return self


class Oci:
    """Calls minirun-oci; afterwards every container is deleted.

    `prefix` is a command that runs it elsewhere, in other namespaces for example.
    """

    def __init__(self, executable: Path, root: Path, prefix: tuple[str, ...] = ()) -> None:
        self.executable = executable
        self.root = root
        self.prefix = prefix

    @property
    def command(self) -> list[str]:
        """The command that calls minirun-oci, without a verb."""
        return [*self.prefix, str(self.executable), "--root", str(self.root)]

    def __call__(self, *arguments: str | Path, check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run one command to its end; with `check` a status other than 0 fails the test."""
        command = [*self.command, *map(str, arguments)]
        options = {"capture_output": True, "text": True, "timeout": 60} | more
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        done: subprocess.CompletedProcess[str] = subprocess.run(command, check=False, **options)
        if check and done.returncode:
            pytest.fail(f"{' '.join(map(str, arguments))} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def run(
        self, bundle: Bundle, script: str = "", *options: str, name: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a bundle's container in the foreground, with `script` as its command if there is one.

        `options` are global ones of minirun-oci.
        """
        self.save(bundle, script)
        return self(*options, "run", "--bundle", bundle.path, name or self.new_id(), check=check)

    def launch(self, bundle: Bundle, name: str, *options: str) -> None:
        """Run a bundle's container in the background; `options` are global ones of minirun-oci."""
        self.save(bundle, "")
        command = [*self.command, *options, "run", "--detach", "--bundle", str(bundle.path), name]
        null = subprocess.DEVNULL
        # A file rather than a pipe: the container keeps it open.
        with (bundle.path / "errors").open("w+") as errors:
            done = subprocess.run(command, check=False, stdin=null, stdout=null, stderr=errors, timeout=60)
            errors.seek(0)
            assert done.returncode == 0, errors.read()

    def output(self, bundle: Bundle, script: str = "") -> str:
        """Run a bundle's container and return what it writes to standard output."""
        return self.run(bundle, script).stdout

    def mounts(self, bundle: Bundle) -> dict[str, MountPoint]:
        """Run a bundle's container and return its mounts by path."""
        return MountPoint.all_of(self.output(bundle, "cat /proc/self/mountinfo"))

    def refusal(self, bundle: Bundle, script: str = "true") -> str:
        """Run a bundle's container, which must fail, and return what minirun-oci says; nothing stays behind."""
        done = self.run(bundle, script, check=False)
        assert done.returncode != 0, "the container ran"
        assert "Traceback" not in done.stderr, done.stderr
        assert self.containers() == []
        return done.stderr

    def create(self, bundle: Bundle, script: str = "") -> str:
        """Create a bundle's container and return its id; it is not started."""
        self.save(bundle, script)
        container = self.new_id()
        # Its output goes nowhere: it would keep the pipes of this call open.
        streams = {"stdout": subprocess.DEVNULL, "stderr": None, "capture_output": False}
        self("create", "--bundle", bundle.path, container, **streams)
        return container

    def state(self, container: str) -> dict[str, Any]:
        """Return what `state` prints."""
        found: dict[str, Any] = json.loads(self("state", container).stdout)
        return found

    def pid(self, container: str) -> int:
        """Return the first process of a container."""
        return int(self.state(container)["pid"])

    def cgroup(self, container: str) -> Path:
        """Return the directory of a running container's cgroup."""
        return cgroup_of(self.pid(container))

    def containers(self) -> list[str]:
        """Return the ids of all containers."""
        return self("list", "--quiet").stdout.split()

    @staticmethod
    def save(bundle: Bundle, script: str) -> None:
        """Write a bundle's config.json, with `script` as its command if there is one."""
        if script:
            bundle.command(script)
        (bundle.path / "config.json").write_text(json.dumps(bundle.config))

    @staticmethod
    def new_id() -> str:
        """Return an id that no container has, not in another worker's state either: their cgroups share a directory."""
        return f"oci-{uuid.uuid4().hex}"

    def close(self) -> None:
        """Delete every container, and reap its process, which has become a child of this one (see `Host`)."""
        for container in self.containers():
            pid = self.pid(container)
            self("delete", "--force", container)
            if self.prefix or not pid:
                continue  # it was a number of another PID namespace, or its creation failed before it had one
            eventually(partial(_is_reaped, pid))


def _is_reaped(pid: int) -> bool:
    """Reap a container's first process, which ends when all in its PID namespace are reaped, by us if they are ours."""
    from support.host import reap_orphans  # pytest loads that as a plugin, after this module

    reap_orphans()
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def make_bundle(path: Path, rootfs: Path, template: dict[str, Any]) -> Bundle:
    """Make a bundle in the directory `path`, with a copy of `rootfs`; its command writes to no terminal."""
    path.mkdir()
    path.chmod(0o755)
    shutil.copytree(rootfs, path / "rootfs", symlinks=True)
    config = copy.deepcopy(template)
    config["process"]["terminal"] = False
    config["root"]["readonly"] = False
    return Bundle(path, config)


@contextlib.contextmanager
def sleeper(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process and put it into a cgroup; it is ended in any case."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            (directory / "cgroup.procs").write_text(str(process.pid))
            yield process
        finally:
            process.kill()


def mount_point() -> Path:
    """Return where cgroup v2 is mounted."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if line.partition(" - ")[2].startswith("cgroup2 "):
            return Path(line.split()[4])
    raise AssertionError("cgroup v2 is not mounted")


def host_has_cgroup2() -> bool:
    """Say whether cgroup v2 is mounted with every controller that limits need."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            controllers = Path(fields.split()[4], "cgroup.controllers").read_text().split()
            return set(controllers) >= {"cpu", "cpuset", "memory", "pids"}
    return False


def v1_hierarchies() -> dict[str, Path]:
    """Return where each controller of cgroup v1 is mounted: none unless this is a hybrid host."""
    found: dict[str, Path] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        if right.startswith("cgroup "):
            controllers = [word for word in right.split(",")[1:] if "=" not in word]
            found |= dict.fromkeys(controllers, Path(left.split()[4]))
    return found


def cgroup_of(pid: int) -> Path:
    """Return the directory of a process's cgroup."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return mount_point() / next(line.removeprefix("0::").lstrip("/") for line in lines if line.startswith("0::"))


def read(directory: Path, *names: str) -> dict[str, str]:
    """Return the texts of a cgroup's files."""
    return {name: (directory / name).read_text().strip() for name in names}
