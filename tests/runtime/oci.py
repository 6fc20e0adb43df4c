"""Bundles for minirun-oci, and what calls it on them."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable


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
    """A folder with config.json and a busybox root file system; a change of `config` holds from the next call on."""

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self.path = path
        self.config = config
        self.rootfs = path / "rootfs"

    @property
    def linux(self) -> dict[str, Any]:
        section: dict[str, Any] = self.config["linux"]
        return section

    def command(self, script: str) -> Bundle:
        """Have the container run a shell script."""
        self.config["process"]["args"] = ["sh", "-c", script]
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
        """Give the container a user namespace, and its root file system to the root of that."""
        self.namespace("user")
        for field in ("uidMappings", "gidMappings"):
            self.linux[field] = [{"containerID": 0, "hostID": host, "size": size}]
        for folder, _, files in os.walk(self.rootfs):
            for name in (folder, *(os.path.join(folder, name) for name in files)):
                os.chown(name, host, host, follow_symlinks=False)
        return self


class Oci:
    """Calls minirun-oci; afterwards every container is deleted."""

    def __init__(self, executable: Path, root: Path) -> None:
        self.executable = executable
        self.root = root

    def __call__(self, *arguments: str | Path, check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run one command to its end; with `check` a status other than 0 fails the test."""
        command = [str(self.executable), "--root", str(self.root), *map(str, arguments)]
        options = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": 60} | more
        done: subprocess.CompletedProcess[str] = subprocess.run(command, check=False, **options)
        if check and done.returncode:
            pytest.fail(f"{' '.join(map(str, arguments))} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def run(self, bundle: Bundle, script: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a bundle's container in the foreground, with `script` as its command if there is one."""
        self.save(bundle, script)
        return self("run", "--bundle", bundle.path, self.new_id(), check=check)

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

    def pid(self, container: str) -> int:
        """Return the first process of a container."""
        return int(json.loads(self("state", container).stdout)["pid"])

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
        """Return an id that no container has, not in another worker's state either: their cgroups share a folder."""
        return f"oci-{uuid.uuid4().hex}"

    def close(self) -> None:
        """Delete every container, and reap its process, which has become a child of this one (see `Host`)."""
        for container in self.containers():
            pid = self.pid(container)
            self("delete", "--force", container)
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                pass


def make_bundle(path: Path, rootfs: Path, template: dict[str, Any]) -> Bundle:
    """Make a bundle in the folder `path`, with a copy of `rootfs`; its command writes to no terminal."""
    path.mkdir()
    path.chmod(0o755)
    shutil.copytree(rootfs, path / "rootfs", symlinks=True)
    config = copy.deepcopy(template)
    config["process"]["terminal"] = False
    config["root"]["readonly"] = False
    return Bundle(path, config)
