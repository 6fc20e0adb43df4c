"""The session of a user without root: a systemd of theirs, in a part of the cgroup hierarchy, and its message bus."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

from support.eventually import eventually
from support.rootless import RUNTIME_DIRECTORY, UID, as_user, copy_of_runtime, make_user
from support.systemd_machine import booted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SESSION = "system.slice/session.service"  # the cgroup of the user's systemd
# A caller that is elsewhere in the hierarchy may not move a process into it.
ENTER = f'cd /sys/fs/cgroup/{SESSION}; mkdir -p callers; echo $$ > callers/cgroup.procs; cd /; exec "$@"'


class Session:
    """A user and what runs commands as that user, in their session."""

    def __init__(self, place: Path, environment: dict[str, str], systemd: tuple[str, ...]) -> None:
        self.place = place
        self.environment = {**environment, "DBUS_SESSION_BUS_ADDRESS": f"unix:path={RUNTIME_DIRECTORY}/bus"}
        self.runtime = copy_of_runtime(place)
        self._inside = (*systemd, "sh", "-ec", ENTER, "sh")
        self.enter = self.as_user(self.environment)

    def as_user(self, environment: dict[str, str], *command: str | Path) -> tuple[str, ...]:
        """Return the command line that runs a command in the session, with this environment."""
        return (*self._inside, *as_user(environment, command))

    def output(self, *command: str | Path) -> str:
        """Run a command to its end and return what it writes."""
        done = subprocess.run([*self.enter, *map(str, command)], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Return properties of a unit of the user's systemd."""
        shown = self.output("systemctl", "--user", "show", unit, "--property", ",".join(properties))
        return dict(line.split("=", 1) for line in shown.splitlines())


@contextlib.contextmanager
def user_session(place: Path) -> Iterator[Session]:
    """Boot a systemd, and have it start one of a user's; `place` is for the user's files."""
    environment = make_user(place)
    with booted() as systemd:
        directory = ["install", "--directory", f"--owner={UID}", f"--group={UID}", "--mode=700", RUNTIME_DIRECTORY]
        subprocess.run([*systemd, *directory], check=True)
        # Nothing else may start because of it: systemd would empty /tmp first.
        properties = ["--property=Delegate=yes", "--property=DefaultDependencies=no"]
        unit = ["--unit=session", f"--uid={UID}", f"--gid={UID}", *properties]
        variables = [f"--setenv={name}={value}" for name, value in environment.items()]
        manager = ["systemd-run", "--quiet", *unit, *variables, "/lib/systemd/systemd", "--user"]
        subprocess.run([*systemd, *manager], check=True)
        listening = [*systemd, "test", "-S", f"{RUNTIME_DIRECTORY}/bus"]
        # The bus's socket; the bus starts with its first caller.
        eventually(lambda: subprocess.run(listening, check=False).returncode == 0, timeout=60)
        yield Session(place, environment, systemd)
