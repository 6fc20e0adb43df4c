"""What stays behind: a comparison of the host with how it was before a test."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .host import descendants

if TYPE_CHECKING:
    from .commands import Minirun


class Leftovers:
    """Compares the host with how it was; `check()` fails when anything has stayed behind."""

    STORES = ("/run/minirun", "/var/lib/minirun")

    def __init__(self) -> None:
        self.before = self.snapshot()

    def check(self, timeout: float = 5) -> None:
        """Fail if something is there now, and still after `timeout` seconds, that was not there before."""
        deadline = time.monotonic() + timeout
        stayed = self.difference()
        while stayed and time.monotonic() < deadline:
            time.sleep(0.05)
            # What comes and goes belongs to tests that run beside this one and share the cgroup hierarchy.
            now = self.difference()
            stayed = {kind: both for kind in stayed if (both := stayed[kind] & now.get(kind, set()))}
        assert not stayed, "stayed behind: " + json.dumps(
            {kind: sorted(things) for kind, things in stayed.items()}, indent=2
        )

    def difference(self) -> dict[str, set[str]]:
        """Return what is there now and was not before, by kind."""
        now = self.snapshot()
        return {kind: new for kind in now if (new := now[kind] - self.before[kind])}

    def snapshot(self) -> dict[str, set[str]]:
        """Return everything that minirun could leave behind, by kind."""
        return {
            "mounts": {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()},
            "interfaces": set(os.listdir("/sys/class/net")),
            "addresses": self._lines("ip", "-oneline", "address", "show", "scope", "global"),
            "rules": self._lines("iptables-save") | self._lines("ip6tables-save"),
            "cgroups": self._cgroups(),
            "processes": {f"{pid} {self._command(pid)}" for pid in descendants()},
            "files": {os.path.join(at, name) for store in self.STORES for at, d, f in os.walk(store) for name in d + f},
        }

    @staticmethod
    def _lines(*command: str) -> set[str]:
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        without_counters = re.sub(r"\[\d+:\d+\]", "", output)
        return {line for line in without_counters.splitlines() if not line.startswith("#")}

    @staticmethod
    def _command(pid: int) -> str:
        try:
            return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
        except OSError:
            return ""

    @staticmethod
    def _cgroups() -> set[str]:
        """Return minirun's cgroups, without those in which processes of other tests run."""
        ours = descendants()
        found = set()
        for directory, _, _ in os.walk("/sys/fs/cgroup"):
            # An engine's container; tests of bundles beside this one give theirs other names.
            if re.search(r"/minirun/[0-9a-f]{64}\b", directory):
                try:
                    members = {int(pid) for pid in Path(directory, "cgroup.procs").read_text().split()}
                except OSError:
                    continue  # it has gone by now
                if not members or members & ours:
                    found.add(directory)
        return found


@pytest.fixture
def leftovers(minirun: Minirun, busybox_image: str) -> Leftovers:
    """Return a comparison with the host as it is now, after a first container has come and gone.

    That first one makes what is meant to stay: the bridge, minirun's own firewall chains, lock files, directories.
    """
    minirun("run", "--rm", "--volume=/anonymous", busybox_image, "true")
    return Leftovers()
