"""Every operation of `minirun-oci run` fails once, each in a run of its own: what was made before is removed."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from forked_oci import start, wait
from support.host import descendants

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.oci_bundles import Bundle, Oci

    from minirun.kernel.trace import Event

NAME = f"faulty-{os.getpid()}"


class Fault:
    """A tracer's `before`: notes each operation in the file `heard`, and makes the one at `place` fail.

    Each process counts its own places, as processes run side by side: ("container", 3).
    """

    def __init__(self, heard: Path, place: tuple[str, int], error: int) -> None:
        self._heard = os.open(heard, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC | os.O_CLOEXEC)
        self._place = place
        self._error = error
        self._counts: dict[str, int] = {}

    def __call__(self, event: Event) -> None:
        count = self._counts[event.process] = self._counts.get(event.process, 0) + 1
        title = event.steps[-1][0] if event.steps else ""
        os.write(self._heard, f"{event.process}\t{count}\t{event.operation}\t{title}\n".encode())
        if (event.process, count) == self._place:
            raise OSError(self._error, os.strerror(self._error), event.operation)

    def close(self) -> None:
        os.close(self._heard)


class Place(NamedTuple):
    """Where an operation stands: its process and number there, its name, and the innermost step it is in."""

    number: tuple[str, int]
    operation: str
    title: str


class Outcome:
    """The outcome of one call: its exit code, its standard error, and the operations it was about to ask for."""

    def __init__(self, code: int, errors: str, heard: Path) -> None:
        self.code = code
        self.errors = errors
        self.places = [
            Place((process, int(count)), operation, title)
            for process, count, operation, title in (line.split("\t") for line in heard.read_text().splitlines())
        ]


def call(directory: Path, *words: str | Path, place: tuple[str, int] = ("", 0), error: int = 0) -> Outcome:
    """Call minirun-oci with a fault."""
    errors, heard = directory / "errors", directory / "heard"
    fault = Fault(heard, place, error)
    child = start(errors, fault, *words)
    fault.close()
    status = wait(child, errors, f"with {place} failing")
    return Outcome(status, errors.read_text(), heard)


class Left:
    """What a container of this test could leave behind, by kind."""

    def __init__(self, state: Path) -> None:
        mountinfo = Path("/proc/self/mountinfo").read_text().splitlines()
        self.kinds = {
            "mounts": {line.split()[4] for line in mountinfo},
            "processes": {str(pid) for pid in descendants()},
            "cgroups": {at for at, _, _ in os.walk("/sys/fs/cgroup") if os.path.basename(at).startswith(NAME)},
            "state": {str(path) for path in state.rglob(f"{NAME}*")},
        }

    def since(self, before: Left) -> dict[str, set[str]]:
        return {kind: new for kind, things in self.kinds.items() if (new := things - before.kinds[kind])}


def plain(bundle: Bundle) -> None:
    """The bundle of `minirun-oci spec`."""
    bundle.command("true")


def rich(bundle: Bundle) -> None:
    """A bundle that asks for a lot."""
    bundle.command("true").enrich("/bin/true", ("createRuntime", "createContainer", "poststart", "poststop"))


# What `run` does in another way, or does without, where the kernel does not permit it (EPERM), as in a user namespace,
# in a sandbox, or for an unprivileged user. Whatever else is refused must end the container: one that ran all the same
# would be less closed than its bundle says.
DISPENSABLE = {
    ("use_every_cpu", "run on every CPU that the cgroup allows"),
    ("join_session_keyring", "take a new session keyring"),
    ("open_in_root", ""),  # passwd(5), for HOME
    ("bind", "make the root file system a mount point"),  # the parent opens it
    ("clone_tree", "bind "),  # likewise
    ("clone_tree", "mount the hierarchies of cgroup v1"),  # mounted anew, seen from the cgroup namespace
    ("set_attributes", "mount the hierarchies of cgroup v1"),
    ("make_device", "fill /dev"),  # the host's node is shown
    ("write", "say whom the container's users stand for"),  # setgroups(2) is denied first
}


@pytest.mark.parametrize("error", [errno.EIO, errno.EPERM], ids=["EIO", "EPERM"])
@pytest.mark.parametrize("kind", [plain, rich])
def test_each_operation_may_fail(
    oci: Oci, bundle: Bundle, tmp_path: Path, kind: Callable[[Bundle], None], error: int
) -> None:
    """Each operation fails with EIO, and the first of each sort with EPERM, which shows what is dispensable."""
    kind(bundle)
    oci.save(bundle, "")
    run = ("--root", oci.root, "run", "--bundle", bundle.path)
    for _ in "first", "second":  # the first fills the cache of seccomp filters
        fine = call(tmp_path, *run, NAME)
        assert (fine.code, fine.errors) == (0, "")
    assert {place.number[0] for place in fine.places} >= {"minirun", "container"}
    before = Left(oci.root)
    seen = set()
    for place in fine.places:
        sort = place.number[0], place.operation, place.title
        if error == errno.EIO or sort not in seen:
            seen.add(sort)
            outcome = call(tmp_path, *run, NAME, place=place.number, error=error)
            check(place, error, outcome)
            left = Left(oci.root).since(before)
            if place.title == "remove the container's cgroup" and outcome.code:
                # What could be removed has been, and the rest is still known.
                assert {kind: len(things) for kind, things in left.items()} == {"cgroups": 1, "state": 1}, place
                assert call(tmp_path, "--root", oci.root, "delete", NAME).code == 0
                left = Left(oci.root).since(before)
            assert left == {}, place


def check(place: Place, error: int, outcome: Outcome) -> None:
    """Check the output and the exit code of a call in which an operation has failed."""
    what = f"{place} with {errno.errorcode[error]}: exit code {outcome.code}, {outcome.errors!r}"
    if place not in outcome.places:
        # Removing a busy cgroup is tried again, not equally often in each run.
        assert place.title == "remove the container's cgroup", what
        assert (outcome.code, outcome.errors) == (0, ""), what
    elif place.title.startswith("run poststop hook"):
        assert (outcome.code, len(outcome.errors.splitlines())) == (0, 1), what  # runtime.md: a warning, no more
        assert outcome.errors.startswith("minirun: warning: "), what
    elif outcome.code == 0:
        assert error == errno.EPERM, what
        assert any(
            place.operation == operation and (place.title.startswith(title) if title else not place.title)
            for operation, title in DISPENSABLE
        ), what
        assert outcome.errors == "", what
    else:
        sentence, *hint = outcome.errors.splitlines()
        assert outcome.code == 1, what
        assert sentence.startswith("minirun-oci: "), what
        assert "internal error" not in sentence, what
        # A device that nobody may make and the host does not have has a sentence of its own.
        own = error == errno.EPERM and place.title.startswith("make the device")
        assert ("the host has no node of the device" if own else os.strerror(error).lower()) in sentence, what
        assert all(line.startswith("hint: ") for line in hint), what
        assert len(hint) < 2, what


def test_a_child_that_fails_first_is_heard(oci: Oci, bundle: Bundle, tmp_path: Path) -> None:
    """It fails as soon as it exists, before the parent has told it to go on, or just after."""
    oci.save(bundle, "true")
    for _ in range(10):
        words = ("--root", oci.root, "run", "--bundle", bundle.path, NAME)
        outcome = call(tmp_path, *words, place=("container", 1), error=errno.EIO)
        assert outcome.code == 1
        assert outcome.errors == "minirun-oci: set_parent_death_signal: input/output error\n"
