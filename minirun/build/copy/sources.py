"""What the sources of COPY and ADD mean in the tree that they are copied from."""

from __future__ import annotations

import os
import posixpath
import stat

from minirun.build.copy.patterns import PatternError, split_wildcards, wildcard
from minirun.errors import MinirunError
from minirun.kernel.path import open_in_root
from minirun.storage.tar.tree import members

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Iterator

    from minirun.build.copy.ignore import IgnoreRules
    from minirun.build.copy.tree import Tree
    from minirun.storage.tar.writer import Member

_CAPABILITY = "security.capability"


class Source:
    """A tree to copy from: a build context with what is ignored in it, or the files of a stage or image.

    The files of a context (`is_context`) are nobody's: neither owners nor the capabilities of programs are copied.
    """

    def __init__(self, tree: Tree, ignored: IgnoreRules | None = None, *, is_context: bool = False) -> None:
        self.tree = tree
        self._ignored = ignored
        self.is_context = is_context

    @property
    def is_filtered(self) -> bool:
        """Whether there may be files in the tree that are not to be seen."""
        return self._ignored is not None

    def find(self, pattern: str) -> list[str]:
        """Return the paths that a source means, relative to the top and in order; a wildcard may mean none.

        Raises MinirunError (1) for a path that is not there, or is a socket: no archive can hold one.
        """
        try:
            directory, pattern = split_wildcards(posixpath.normpath(f"/{pattern}").lstrip("/"))
            expressions = [wildcard(part) for part in pattern.split("/")] if pattern else []
        except PatternError as error:
            raise MinirunError(str(error), "For example *.txt, or docs/[a-c]?.md.", exit_code=1) from None
        if not expressions:
            if self._is_ignored(directory) or stat.S_ISSOCK(self.mode(directory)):
                raise _not_found(directory)
            return [directory]
        found = [path for path in self._matching(directory, expressions) if not self._is_ignored(path)]
        return [path for path in found if not stat.S_ISSOCK(self.mode(path))]

    def mode(self, path: str) -> int:
        """Return type and mode of what is at a path, through symbolic links. Raises MinirunError (1)."""
        try:
            file = self.tree.open(path)
        except (FileNotFoundError, NotADirectoryError):
            raise _not_found(path) from None
        try:
            return os.fstat(file).st_mode
        finally:
            os.close(file)

    def is_directory(self, path: str) -> bool:
        """Say whether there is a directory, or a link to one. Raises MinirunError (1)."""
        return stat.S_ISDIR(self.mode(path))

    def members(self, path: str, name: str, excluded: IgnoreRules | None = None) -> Iterator[Member]:
        """Give what is at a path as `name` and below, without what is ignored, or excluded by `--exclude`.

        A symbolic link at the path itself is followed. Raises MinirunError and OSError as `tar.tree.members` does.
        """
        top = os.fsencode(name)
        file = self.tree.open(path)
        try:
            chosen = _Chosen(top, path, self._ignored, excluded)
            waiting: list[Member] = []
            for entry, content in members(file, top, without=chosen):
                if self.is_context:
                    entry.xattrs.pop(_CAPABILITY, None)  # it goes with the owner that the file had
                # A directory that is excluded is there after all if something in it is not.
                waiting = [each for each in waiting if entry.name.startswith(each[0].name + b"/")]
                if chosen.is_excluded(entry.name):
                    waiting.append((entry, content))
                    continue
                yield from waiting
                waiting = []
                yield entry, content
        finally:
            os.close(file)

    def _is_ignored(self, path: str) -> bool:
        return bool(path and self._ignored and _is_closed(self._ignored, path))

    def _matching(self, above: str, expressions: list[re.Pattern[str]]) -> Iterator[str]:
        first, rest = expressions[0], expressions[1:]
        for name in self._names(above):
            if first.fullmatch(name):
                path = posixpath.join(above, name)
                if rest:
                    yield from self._matching(path, rest)
                else:
                    yield path

    def _names(self, path: str) -> list[str]:
        try:
            directory = open_in_root(self.tree.fd, path or ".", os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return []
        try:
            return sorted(os.listdir(directory))
        finally:
            os.close(directory)


class _Chosen:
    """What is not to be walked into, by its name in the layer: `name in chosen`."""

    def __init__(self, top: bytes, path: str, ignored: IgnoreRules | None, excluded: IgnoreRules | None) -> None:
        self._top = len(top) + 1 if top else 0
        # Each with the path, from where its rules count, of what is copied.
        self._rules = [(rules, above) for rules, above in ((ignored, path), (excluded, "")) if rules]
        self._excluded: set[bytes] = set()

    def __contains__(self, name: object) -> bool:
        assert isinstance(name, bytes)
        for rules, above in self._rules:
            path = posixpath.join(above, os.fsdecode(name[self._top :]))
            if rules.excludes(path):
                if _is_closed(rules, path):
                    return True
                self._excluded.add(name)
        return False

    def is_excluded(self, name: bytes) -> bool:
        """Say whether this itself, which was asked for just now, is excluded, whatever is in it."""
        if name in self._excluded:
            self._excluded.discard(name)
            return True
        return False


def _not_found(path: str) -> MinirunError:
    return MinirunError(
        f'failed to calculate checksum: "/{path}": not found',
        "The path begins at the top of what is copied from; a .dockerignore may exclude it.",
        exit_code=1,
    )


def _is_closed(rules: IgnoreRules, path: str) -> bool:
    """Say whether a path is ignored with all that can be below it."""
    above = rules.top
    parts = path.split("/")
    for end in range(1, len(parts)):
        above = rules.judge("/".join(parts[:end]), above)
    return rules.is_closed(path, rules.judge(path, above))
