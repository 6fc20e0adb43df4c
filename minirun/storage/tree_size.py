"""How much of the disk a tree of files takes."""

from __future__ import annotations

import os
import stat


def size_of_tree(path: str) -> int:
    """Return the bytes of the files below a directory; what is removed meanwhile does not count.

    A file with several names counts once. What lies so deep that no path leads there (PATH_MAX) does not count, either.
    """
    total = 0
    linked: set[tuple[int, int]] = set()
    waiting = [path]
    while waiting:  # not os.walk, which calls itself for each level: Python limits that
        try:
            with os.scandir(waiting.pop()) as entries:
                names = [entry.path for entry in entries]
        except OSError:
            continue
        for each in names:
            try:
                status = os.lstat(each)
            except OSError:
                continue
            if stat.S_ISDIR(status.st_mode):
                waiting.append(each)
                continue
            if status.st_nlink > 1:
                inode = status.st_dev, status.st_ino
                if inode in linked:
                    continue
                linked.add(inode)
            total += status.st_size
    return total
