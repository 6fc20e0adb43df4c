"""What of a build context is left out: the rules of .dockerignore, which COPY's and ADD's `--exclude` have as well.

Source: Dockerfile reference and "Build context" of Docker's manual, ".dockerignore files"; where they are silent, what
docker build does. A rule that matches a directory holds for all that is below it, and of all rules that match, the last
one counts. But a `!` that means a directory is not asked where nothing has left the directory out.
"""

from __future__ import annotations

import posixpath
import re

from minirun.build.copy.patterns import PatternError, has_wildcards, ignore_regex
from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def read_patterns(text: str) -> tuple[str, ...]:
    """Return the patterns of a .dockerignore: lines without comments, as paths from the context's top."""
    patterns = []
    for line in text.removeprefix("\ufeff").split("\n"):
        if line.startswith("#"):
            continue
        pattern = line.strip()
        bang = "!" if pattern.startswith("!") else ""
        pattern = pattern.removeprefix("!").strip()
        if pattern:
            pattern = _clean(pattern)
            pattern = pattern[1:] if len(pattern) > 1 and pattern.startswith("/") else pattern
        if bang or pattern:
            patterns.append(bang + pattern)
    return tuple(patterns)


class Verdict:
    """What the rules say of a path: whether it is `excluded`, and, for what is below it, which groups have matched."""

    __slots__ = ("excluded", "matched")

    def __init__(self, excluded: bool, matched: tuple[bool, ...]) -> None:
        self.excluded = excluded
        self.matched = matched


class IgnoreRules:
    """The rules, ready to judge many paths. A path has no slash at either end: "src/main.c"."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Take the patterns in their order. Raises MinirunError (1) for one that is malformed."""
        self._groups: list[_Group] = []
        for written in patterns:
            pattern = written.strip()
            if not pattern:
                continue
            pattern = _clean(pattern)
            brings_back = pattern.startswith("!")
            if pattern == "!":
                raise MinirunError(
                    'illegal exclusion pattern: "!"', "A pattern follows the exclamation mark.", exit_code=1
                )
            if not self._groups or self._groups[-1].brings_back != brings_back:
                self._groups.append(_Group(brings_back))
            self._groups[-1].add(pattern.removeprefix("!"))
        self.top = Verdict(False, (False,) * len(self._groups))
        """The verdict of the context itself, which is never excluded."""
        self._directories = {"": self.top}

    def judge(self, path: str, above: Verdict) -> Verdict:
        """Return what the rules say of a path, by what they say of the directory that it is in."""
        excluded = False
        matched = []
        for group, above_matched in zip(self._groups, above.matched, strict=True):
            # A group that could change nothing is not asked: that is how docker build does it, and it can be seen.
            matches = above_matched or (group.brings_back == excluded and group.matches(path))
            matched.append(matches)
            if matches:
                excluded = not group.brings_back
        return Verdict(excluded, tuple(matched))

    def excludes(self, path: str) -> bool:
        """Say whether a path is left out, for who does not walk from the top. Its directories are remembered."""
        above, _, _ = path.rpartition("/")
        return self.judge(path, self._verdict(above)).excluded

    def is_closed(self, path: str, verdict: Verdict) -> bool:
        """Say whether a directory is excluded with all that can ever be below it: nobody needs to look into it."""
        if not verdict.excluded:
            return False
        # What the last group that excludes it says of all below it can be changed by later groups only.
        for group, matched in zip(reversed(self._groups), reversed(verdict.matched), strict=True):
            if group.brings_back:
                if group.may_match_below(path):
                    return False
            elif matched:
                return True
        return False

    def _verdict(self, directory: str) -> Verdict:
        known = self._directories.get(directory)
        if known is None:
            above, _, _ = directory.rpartition("/")
            known = self._directories[directory] = self.judge(directory, self._verdict(above))
        return known


class _Group:
    """Patterns that follow one another and all exclude, or all bring back: it does not matter which of them matches."""

    def __init__(self, brings_back: bool) -> None:
        self.brings_back = brings_back
        self._paths: set[str] = set()  # patterns without wildcards
        self._names: set[str] = set()  # of patterns such as **/name
        self._expressions: list[str] = []
        self._wild: list[str] = []
        self._regex: re.Pattern[str] | None = None

    def add(self, pattern: str) -> None:
        """Add a pattern. Raises MinirunError."""
        try:
            expression = ignore_regex(pattern)
            re.compile(expression)
        except (PatternError, re.error, RecursionError, OverflowError):
            raise MinirunError(
                f"syntax error in pattern: {pattern}", "For example *.log, **/cache or docs/[a-c]?.md.", exit_code=1
            ) from None
        name = pattern.removeprefix("**/")
        if "\\" not in pattern and not has_wildcards(pattern):
            self._paths.add(pattern)
        elif "\\" not in name and not has_wildcards(name) and "/" not in name:
            self._names.add(name)
            self._wild.append(pattern)
        else:
            self._expressions.append(expression)
            self._wild.append(pattern)
        self._regex = None

    def matches(self, path: str) -> bool:
        """Say whether a pattern matches the path itself."""
        if path in self._paths or (self._names and path[path.rfind("/") + 1 :] in self._names):
            return True
        if not self._expressions:
            return False
        if self._regex is None:
            self._regex = re.compile("|".join(self._expressions), re.DOTALL)
        return self._regex.fullmatch(path) is not None

    def may_match_below(self, directory: str) -> bool:
        """Say whether a pattern might match a path below a directory; where that is hard to say, it might."""
        below = f"{directory}/"
        if any(path.startswith(below) for path in self._paths):
            return True
        parts = directory.split("/")
        return any(_may_lead_into(pattern.split("/"), parts) for pattern in self._wild)


def _may_lead_into(pattern: list[str], directory: list[str]) -> bool:
    """Say whether a pattern, by its parts, might match something below a directory, by its own."""
    for wanted, part in zip(pattern, directory, strict=False):
        if "**" in wanted or "[" in wanted:
            return True  # either may stand for a slash
        if not re.fullmatch(ignore_regex(wanted), part, re.DOTALL):
            return False
    return len(pattern) > len(directory)


def _clean(pattern: str) -> str:
    """Return a path as Go's filepath.Clean does; it may begin with the "!" that brings back."""
    cleaned = posixpath.normpath(pattern)
    return cleaned[1:] if cleaned.startswith("//") else cleaned
