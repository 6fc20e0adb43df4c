"""Docker with BuildKit and minirun as builders: what each has made, and which steps it took from its cache."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_STEP = re.compile(r"^#(\d+) (\[.*\d+/\d+\] .*|CACHED)$", re.MULTILINE)
_RECENT = 3600  # seconds: what is younger was made by the build
_HISTORY = ("created_by", "empty_layer", "comment")


class Builder:
    """One engine's `build`: `words` is the command before the verb."""

    def __init__(self, words: Sequence[str | Path], env: dict[str, str]) -> None:
        self._words = [str(word) for word in words]
        self._env = {**os.environ, **env}

    def run(self, *arguments: str | Path, timeout: float = 90) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, whatever that is."""
        words = [*self._words, *map(str, arguments)]
        return subprocess.run(
            words, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=self._env, timeout=timeout
        )

    def build(self, context: Path, tag: str, *options: str) -> str:
        """Build an image; return what the builder told of it."""
        done = self.run("build", "--progress=plain", "--tag", tag, *options, context)
        assert done.returncode == 0, f"{self._words[0]} build ended with {done.returncode}\n{done.stderr[-6000:]}"
        return done.stderr

    def layers(self, tag: str) -> list[Path]:
        """Return the directories of an image's layers, the uppermost first."""
        raise NotImplementedError

    def config(self, tag: str) -> dict[str, Any]:
        """Return an image's config document."""
        raise NotImplementedError

    def result(self, tag: str) -> dict[str, object]:
        """Return what is to be the same in both: parts of the config, and each file."""
        document = self.config(tag)
        history = [_comparable(entry) for entry in document["history"]]
        known = {
            "config": {key: value for key, value in document["config"].items() if value},
            "history": history,
            "layers": len(document["rootfs"]["diff_ids"]),
            "platform": (document["os"], document["architecture"]),
            "author": document.get("author"),
        }
        with merged(self.layers(tag)) as top:
            return known | {f"/{path}": file for path, file in files(top)}


class Docker(Builder):
    """Docker with BuildKit; its data are in `root`."""

    def __init__(self, words: Sequence[str | Path], root: Path, env: dict[str, str]) -> None:
        super().__init__(words, {**env, "DOCKER_BUILDKIT": "1"})
        self._root = root

    def layers(self, tag: str) -> list[Path]:
        data = json.loads(self.run("image", "inspect", "--format", "{{json .GraphDriver.Data}}", tag).stdout)
        return [Path(path) for path in (data["UpperDir"], *filter(None, data.get("LowerDir", "").split(":")))]

    def config(self, tag: str) -> dict[str, Any]:
        image = self.run("image", "inspect", "--format", "{{.Id}}", tag).stdout.strip().removeprefix("sha256:")
        return json.loads((self._root / "image/overlay2/imagedb/content/sha256" / image).read_text())  # type: ignore[no-any-return]


class Minirun(Builder):
    """minirun, with its data where they usually are."""

    def __init__(self, executable: Path) -> None:
        super().__init__([executable], {})

    def layers(self, tag: str) -> list[Path]:
        diff_ids = self.config(tag)["rootfs"]["diff_ids"]
        return [Path("/var/lib/minirun/layers", diff_id.removeprefix("sha256:"), "diff") for diff_id in diff_ids[::-1]]

    def config(self, tag: str) -> dict[str, Any]:
        image = self.run("images", "--no-trunc", "--quiet", tag).stdout.split()[0].removeprefix("sha256:")
        return json.loads(Path("/var/lib/minirun/blobs/sha256", image).read_text())  # type: ignore[no-any-return]


def _comparable(entry: dict[str, Any]) -> dict[str, Any]:
    """Return what a step's history says, without flags and values of ARG, of which Docker 20.10 is silent."""
    known = {key: entry[key] for key in _HISTORY if key in entry}
    words = re.sub(r"^(COPY|ADD)( --(chown|chmod)=\S+)*", r"\1", known.get("created_by", ""))
    return known | {"created_by": re.sub("=.*", "", words) if words.startswith("ARG ") else words}


@contextmanager
def merged(layers: Sequence[Path]) -> Iterator[Path]:
    """Mount layers on each other, for reading."""
    place = Path(tempfile.mkdtemp(prefix="merged-", dir="/mnt"))
    # Of one directory alone overlayfs makes nothing.
    lowers = ":".join(str(layer) for layer in [*layers, tempfile.mkdtemp(prefix="empty-", dir="/mnt")])
    subprocess.run(["mount", "-t", "overlay", "-o", f"ro,lowerdir={lowers}", "overlay", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def files(top: Path) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Give each path below a directory, with all that a copy of it keeps.

    Docker 20.10 sets a directory's time, and then copies what is in it.
    """
    recent = time.time() - _RECENT
    seen: dict[int, str] = {}
    for directory, directories, names in os.walk(top):
        directories.sort()
        for name in sorted([*directories, *names]):
            path = Path(directory, name)
            status = path.lstat()
            shown = str(path.relative_to(top))
            first = seen.setdefault(status.st_ino, shown) if not stat.S_ISDIR(status.st_mode) else shown
            yield (
                shown,
                (
                    f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid}",
                    _content(path, status),
                    "new" if stat.S_ISDIR(status.st_mode) or status.st_mtime > recent else int(status.st_mtime),
                    {
                        key: os.getxattr(path, key, follow_symlinks=False)
                        for key in os.listxattr(path, follow_symlinks=False)
                    },
                    f"the same as {first}" if first != shown else "",
                ),
            )


def _content(path: Path, status: os.stat_result) -> object:
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(path)
    if stat.S_ISREG(status.st_mode):
        return status.st_size, hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        return os.major(status.st_rdev), os.minor(status.st_rdev)
    return None


def steps(told: str) -> list[tuple[str, bool]]:
    """Return the steps of a build in their order, each with whether it was taken from the cache."""
    titles: dict[str, str] = {}
    cached = set()
    for number, text in _STEP.findall(told):
        if text == "CACHED":
            cached.add(number)
        elif "] FROM " not in text:
            # Docker 20.10 counts too few steps where there are ONBUILD triggers.
            titles[number] = re.sub(r"/\d+\]", "]", text, count=1)
    return sorted((title, number in cached) for number, title in titles.items())
