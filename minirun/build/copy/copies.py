"""One COPY or ADD: from what its words mean to the members of its layer."""

from __future__ import annotations

import os
import posixpath
import stat

from minirun.build.copy import archives
from minirun.build.copy.destination import Destination, destination_path, digest_of, file_member
from minirun.build.copy.ignore import IgnoreRules
from minirun.build.copy.ownership import of_copy
from minirun.build.dockerfile.error import DockerfileError
from minirun.build.dockerfile.instructions import Add

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minirun.build.copy.sources import Source
    from minirun.build.copy.tree import Tree
    from minirun.build.dockerfile.instructions import Copy
    from minirun.storage.tar.writer import Member

_REMOTE = ("http://", "https://")
_GIT = ("git@", "git://", "ssh://")


class Copies:
    """What a COPY or ADD, whose words are expanded, puts onto the files `rootfs` of its stage.

    `fetch` gets a URL and returns the file that was downloaded, its name and its time in nanoseconds. Raises
    DockerfileError.
    """

    def __init__(
        self,
        instruction: Copy | Add,
        source: Source,
        rootfs: Tree,
        working_dir: str,
        fetch: Callable[[str], tuple[int, str, int]],
    ) -> None:
        self._instruction = instruction
        self._source = source
        self._rootfs = rootfs
        self._fetch = fetch
        self._ownership = of_copy(instruction.chown, instruction.chmod, rootfs)
        self._dest, self._is_directory = destination_path(rootfs, working_dir, instruction.dest)
        if len(instruction.sources) + len(instruction.heredocs) > 1 and not self._is_directory:
            raise DockerfileError(
                f"When using {instruction.word} with more than one source file, the destination must be a directory "
                "and end with a /"
            )
        self._parents = bool(getattr(instruction, "parents", False))
        self._excluded = IgnoreRules(instruction.excludes) if instruction.excludes else None

    def definition(self) -> tuple[object, ...]:
        """Return all that its layer depends on, besides the files below it."""
        return self._dest, self._is_directory, self._instruction.chmod, digest_of(self.members())

    def members(self) -> Iterator[Member]:
        """Give the members of its layer. Raises MinirunError and OSError."""
        destination = Destination(self._rootfs, self._ownership)
        for heredoc in self._instruction.heredocs:
            content = heredoc.content.encode(errors="surrogateescape")
            member = file_member(self._target_of(heredoc.name, destination), content, 0o644, 0)
            yield from destination.placed([member], top=b"")
        for source in self._instruction.sources:
            if isinstance(self._instruction, Add) and source.startswith((*_REMOTE, *_GIT)):
                yield from self._remote(source, destination)
            else:
                for path in self._source.find(source):
                    yield from self._local(source, path, destination)

    def _local(self, source: str, path: str, destination: Destination) -> Iterator[Member]:
        if self._parents:
            # What stands before "/./" is not kept.
            kept = (
                path.removeprefix(posixpath.normpath(source.partition("/./")[0]).strip("/"))
                if "/./" in source
                else path
            )
            name = posixpath.join(self._dest, kept.strip("/"))
        elif self._source.is_directory(path):
            name = self._dest
            yield from destination.directories(posixpath.dirname(name))
        else:
            name = self._target_of(posixpath.basename(path), destination)
            if self._may_be_archive(path):
                file = self._source.tree.open(path, os.O_RDONLY | os.O_NONBLOCK)
                try:
                    if archives.is_archive(file):
                        yield from self._unpacked(file, destination)
                        return
                finally:
                    os.close(file)
        # A context's files belong to nobody; those of a stage or an image have owners.
        keep_owner = not self._source.is_context and not self._instruction.chown
        members = self._source.members(path, name, self._excluded)
        yield from destination.placed(members, top=os.fsencode(name), keep_owner=keep_owner)

    def _may_be_archive(self, path: str) -> bool:
        instruction = self._instruction
        return (
            isinstance(instruction, Add) and instruction.unpack is not False and stat.S_ISREG(self._source.mode(path))
        )

    def _remote(self, url: str, destination: Destination) -> Iterator[Member]:
        if url.startswith(_GIT) or url.partition("#")[0].endswith(".git"):
            raise DockerfileError(
                "ADD from a git repository is not supported", "Clone it beside the Dockerfile, and COPY."
            )
        file, name, mtime_ns = self._fetch(url)
        try:
            if isinstance(self._instruction, Add) and self._instruction.unpack and archives.is_archive(file):
                yield from self._unpacked(file, destination)
                return
            content = archives.whole(file)
            member = file_member(self._target_of(name, destination), content, 0o600, mtime_ns)
            yield from destination.placed([member], top=b"")
        finally:
            os.close(file)

    def _unpacked(self, file: int, destination: Destination) -> Iterator[Member]:
        """Give what is in an archive, below the destination; without --chown, owners stay as the archive has them."""
        members = archives.members(file, os.fsencode(self._dest))
        yield from destination.directories(self._dest)
        yield from destination.placed(members, top=b"", keep_owner=not self._instruction.chown)

    def _target_of(self, name: str, destination: Destination) -> str:
        """Return where a file named `name` goes: into the destination if that is a directory, else to its place."""
        if self._is_directory or destination.is_directory(self._dest):
            return posixpath.join(self._dest, name)
        return self._dest
