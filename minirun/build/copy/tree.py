"""A directory that is looked into as if it were `/`: a stage's files, or a build context.

Whoever wrote the image or sent the context is not trusted: every path is resolved by the kernel within the root
(openat2(2), RESOLVE_IN_ROOT), so no symbolic link and no `..` leads out of it.
"""

from __future__ import annotations

import os
import posixpath
import stat

from minirun.kernel.path import open_in_root, read_file_in_root
from minirun.storage import images
from minirun.storage.merged import open_snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from minirun.model.image import Image
    from minirun.model.layout import Layout

_LINKS_MAX = 40


class Tree:
    """The tree below the directory behind the descriptor `fd`, which is closed with it; a context manager."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __enter__(self) -> Tree:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self.fd)

    def open(self, path: str, flags: int = os.O_PATH) -> int:
        """Open what is at a path, through symbolic links. Raises OSError."""
        return open_in_root(self.fd, path or ".", flags)

    def status(self, path: str) -> os.stat_result | None:
        """Return what is at a path, of a symbolic link the link itself; None if there is nothing."""
        try:
            file = open_in_root(self.fd, path or ".", os.O_PATH | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return os.fstat(file)
        finally:
            os.close(file)

    def real_path(self, path: str) -> str:
        """Return where a path leads to when all symbolic links are followed, relative to the root; "" is the root.

        What is missing of it stays as it is. Raises OSError for a loop.
        """
        missing: list[str] = []
        path = posixpath.normpath(f"/{path}")
        for _ in range(_LINKS_MAX):
            try:
                file = open_in_root(self.fd, path, os.O_PATH)
            except (FileNotFoundError, NotADirectoryError):
                linked = self._link(path)
                if linked:
                    path = linked
                    continue
                path, name = posixpath.split(path)
                missing.insert(0, name)
                continue
            try:
                found = os.readlink(f"/proc/self/fd/{file}").removeprefix(os.readlink(f"/proc/self/fd/{self.fd}"))
            finally:
                os.close(file)
            return posixpath.join(found.strip("/"), *missing)
        return posixpath.join(path, *missing).strip("/")

    def read(self, path: str) -> str:
        """Return the text of a small regular file, "" if there is none."""
        return read_file_in_root(self.fd, path) or ""

    def _link(self, path: str) -> str:
        """Return where the dangling symbolic link at `path` leads, "" if there is none."""
        try:
            file = open_in_root(self.fd, path, os.O_PATH | os.O_NOFOLLOW)
        except OSError:
            return ""
        try:
            if not stat.S_ISLNK(os.fstat(file).st_mode):
                return ""
            return posixpath.normpath(posixpath.join(posixpath.dirname(path), os.readlink("", dir_fd=file)))
        finally:
            os.close(file)


def open_rootfs(layout: Layout, image: Image, target: str) -> Tree:
    """Return the files of an image for reading; `target` is any directory."""
    return Tree(open_snapshot(images.read_only_snapshot(layout, image, "", target)))
