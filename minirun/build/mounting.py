"""`RUN --mount`: what is mounted for one command, and does not become part of the image."""

from __future__ import annotations

import hashlib
import os
import posixpath

from minirun.build.copy.destination import digest_of
from minirun.build.dockerfile.error import DockerfileError
from minirun.build.dockerfile.mounts import BindMount, CacheMount, SecretMount, SshMount, TmpfsMount
from minirun.engine.volume.filling import fill
from minirun.kernel.hostfiles import lock, lock_file, make_directory, make_private, set_mode, write_new
from minirun.kernel.layerfs import set_owner
from minirun.kernel.mount import (
    PROPAGATION,
    MountTarget,
    attach_tree,
    clone_tree,
    mount,
    set_propagation,
    unmount_lazily,
)
from minirun.kernel.process import NAMESPACE_FLAGS, unshare
from minirun.kernel.trace import step
from minirun.model.container import VolumeMount
from minirun.model.record import Record
from minirun.storage import build_cache
from minirun.storage.layers import unpack_layer
from minirun.storage.tar.writer import tar_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

    from minirun.build.copy.sources import Source
    from minirun.build.dockerfile.mounts import Mount
    from minirun.build.material import Material


class Prepared(Record):
    """What a RUN's mounts are for its container; `places` are the paths that are made only to be mounted on."""

    mounts: tuple[VolumeMount, ...]
    environment: dict[str, str]
    places: tuple[bytes, ...]


def contents(material: Material, mounts: Sequence[Mount]) -> tuple[str, ...]:
    """Return what tells whether the files are the same that a RUN is shown. What is in a cache is not asked."""
    found = []
    for each in mounts:
        if isinstance(each, BindMount):
            origin = material.plan.origin_of(each.from_) if each.from_ else None
            if material.directory_of(origin) or origin is None:
                with material.files_named(each.from_) as source:
                    found.append(digest_of(source.members(_only(source, each.source), "mount")))
            else:
                found.append(material.built(origin).key)
    return tuple(found)


def prepare(material: Material, mounts: Sequence[Mount], working_dir: str, stack: ExitStack) -> Prepared:
    """Make what a RUN's container has mounted, until `stack` is closed. Raises DockerfileError."""
    work = _Work(material, working_dir, stack)
    for each in mounts:
        work.add(each)
    return Prepared(tuple(work.volumes), work.environment, tuple(work.places))


class _Work:
    def __init__(self, material: Material, working_dir: str, stack: ExitStack) -> None:
        self._material = material
        self._working_dir = working_dir
        self._stack = stack
        self._secrets = ""
        self.volumes: list[VolumeMount] = []
        self.environment: dict[str, str] = {}
        self.places: list[bytes] = []

    def add(self, wanted: Mount) -> None:
        if isinstance(wanted, BindMount):
            self._mount(self._bind(wanted), wanted.target, read_only=wanted.read_only)
        elif isinstance(wanted, CacheMount):
            self._mount(self._cache(wanted), wanted.target, read_only=wanted.read_only)
        elif isinstance(wanted, TmpfsMount):
            options = (f"size={wanted.size}",) if wanted.size else ()
            self._note(VolumeMount("tmpfs", self._target(wanted.target), options=options))
        elif isinstance(wanted, SecretMount):
            self._secret(wanted)
        else:
            self._ssh(wanted)

    def _mount(self, source: str, target: str, *, read_only: bool = True) -> None:
        self._note(VolumeMount("bind", self._target(target), source, read_only))

    def _note(self, volume: VolumeMount) -> None:
        self.volumes.append(volume)
        path = volume.target.strip("/").encode(errors="surrogateescape")
        while path:
            self.places.append(path)
            path = path.rpartition(b"/")[0]

    def _target(self, target: str) -> str:
        path = posixpath.normpath(posixpath.join("/", self._working_dir, target))
        if not target or path == "/":
            raise DockerfileError(f"invalid mount target {target!r}", "Write target=PATH.")
        return path

    # -- bind ----------------------------------------------------------------------------------------------------------
    def _bind(self, wanted: BindMount) -> str:
        """Mount a part of a stage, an image or a context where only this build sees it; return where."""
        self._own_namespace()
        with self._material.files_named(wanted.from_) as source:
            path = _only(source, wanted.source)
            is_directory = source.is_directory(path)
            if source.is_filtered or not (is_directory or wanted.read_only):
                place = self._copied(source, path)
            else:
                if not source.is_context:
                    self._attach(source.tree.fd, is_directory=True)  # only what is attached can be cloned
                file = source.tree.open(path)
                try:
                    tree = clone_tree("", directory=file)
                finally:
                    os.close(file)
                try:
                    place = self._attach(tree, is_directory=is_directory)
                finally:
                    os.close(tree)
            return place if wanted.read_only or not is_directory else self._writable(place)

    def _copied(self, source: Source, path: str) -> str:
        """Copy what of a context is not ignored, or a file that is written to; return where it is."""
        directory = f"{self._material.ingest.path}/context-{os.urandom(4).hex()}"
        unpack_layer(tar_of(source.members(path, "shown")), directory)
        return f"{directory}/diff/shown"

    def _attach(self, tree: int, *, is_directory: bool) -> str:
        place = f"{self._material.ingest.path}/mount-{os.urandom(4).hex()}"
        if is_directory:
            make_directory(place)
        else:
            write_new(place, b"")
        target = os.open(place, os.O_PATH | os.O_CLOEXEC)
        try:
            attach_tree(tree, MountTarget(target, place))
        finally:
            os.close(target)
        self._stack.callback(unmount_lazily, place)
        return place

    def _writable(self, lower: str) -> str:
        """Put a layer on a directory that takes all writes, and is thrown away."""
        place = f"{lower}-rw"
        for directory in (place, f"{lower}-upper", f"{lower}-work"):
            make_directory(directory, 0o755)
        mount("overlay", place, "overlay", 0, f"lowerdir={lower},upperdir={lower}-upper,workdir={lower}-work")
        self._stack.callback(unmount_lazily, place)
        return place

    # -- cache ---------------------------------------------------------------------------------------------------------
    def _cache(self, wanted: CacheMount) -> str:
        """Return the directory of a cache, made if it is new; locked until the step's end if it is not shared."""
        caches = build_cache.mounts_directory(self._material.layout)
        make_private(caches)
        directory = f"{caches}/{hashlib.sha256(wanted.id.encode(errors='surrogateescape')).hexdigest()[:32]}"
        if wanted.sharing == "private":
            number = 0
            while (own := _try_lock(f"{directory}-{number}.lock")) < 0:
                number += 1
            directory = f"{directory}-{number}"
            self._stack.callback(os.close, own)
        elif wanted.sharing == "locked":
            self._stack.callback(os.close, lock_file(f"{directory}.lock"))
        while True:
            self._make_cache(wanted, directory)
            held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._stack.callback(os.close, held)
            lock(held, shared=True)
            if os.path.isdir(f"{directory}/data"):
                return f"{directory}/data"  # and `builder prune` has not just removed it

    def _make_cache(self, wanted: CacheMount, directory: str) -> None:
        data = f"{directory}/data"
        make_private(directory)
        try:
            make_directory(data)
        except FileExistsError:
            return  # another step has just made it
        set_mode(data, wanted.mode)
        file = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            set_owner(file, wanted.uid, wanted.gid)
        finally:
            os.close(file)
        if wanted.from_:
            with self._material.files_named(wanted.from_) as source:
                fill(source.tree.fd, wanted.source, data, data)

    # -- secrets -------------------------------------------------------------------------------------------------------
    def _secret(self, wanted: SecretMount) -> None:
        known = {secret.id: secret for secret in self._material.request.secrets}
        secret = known.get(wanted.id)
        if secret is None:
            if wanted.required:
                raise DockerfileError(f"secret {wanted.id}: not found", f"Give it: --secret id={wanted.id},src=FILE.")
            return
        content = secret.read()
        if wanted.env:
            self.environment[wanted.env] = content.decode(errors="surrogateescape")
        if wanted.target:
            path = self._secret_file(content, wanted)
            self._mount(path, wanted.target)

    def _secret_file(self, content: bytes, wanted: SecretMount) -> str:
        """Write a secret into memory that only this build sees; return the file's path."""
        self._own_namespace()
        if not self._secrets:
            self._secrets = f"{self._material.ingest.path}/secrets-{os.urandom(4).hex()}"
            make_directory(self._secrets)
            with step("keep secrets in memory, where only this build sees them", "mounts"):
                mount("tmpfs", self._secrets, "tmpfs", 0, "mode=700")
            self._stack.callback(unmount_lazily, self._secrets)
        path = f"{self._secrets}/{len(self.places)}"
        write_new(path, content, 0o600)
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            set_owner(file, wanted.uid, wanted.gid)
        finally:
            os.close(file)
        set_mode(path, wanted.mode)
        return path

    def _ssh(self, wanted: SshMount) -> None:
        socket = self._material.request.ssh.get(wanted.id)
        if socket is None:
            if wanted.required:
                raise DockerfileError(f"unset ssh forward key {wanted.id}", f"Give it: --ssh {wanted.id}.")
            return
        target = wanted.target or f"/run/buildkit/ssh_agent.{len(self.places)}"
        self._mount(socket, target)
        self.environment["SSH_AUTH_SOCK"] = self._target(target)

    def _own_namespace(self) -> None:
        """Let this process, which does nothing but this stage, see mounts that nobody else sees."""
        if not self._material.has_own_mounts:
            with step("take a mount namespace for what the build mounts", "mounts"):
                unshare(NAMESPACE_FLAGS["mount"])
                set_propagation("/", PROPAGATION["rslave"])
            self._material.has_own_mounts = True


def _only(source: Source, path: str) -> str:
    (found,) = source.find(path)
    return found


def _try_lock(path: str) -> int:
    try:
        return lock_file(path, wait=False)
    except BlockingIOError:
        return -1
