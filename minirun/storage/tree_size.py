"""How much of the disk a tree of files takes."""

from __future__ import annotations

import os


def size_of_tree(path: str) -> int:
    """Return the bytes of the files below a directory; what is removed meanwhile does not count.

    A file with several names counts once.
    """
    total = 0
    linked: set[tuple[int, int]] = set()
    for directory, _, files in os.walk(path):
        for name in files:
            try:
                status = os.lstat(f"{directory}/{name}")
            except FileNotFoundError:
                continue
            if status.st_nlink > 1:
                inode = status.st_dev, status.st_ino
                if inode in linked:
                    continue
                linked.add(inode)
            total += status.st_size
    return total
