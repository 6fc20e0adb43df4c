"""`system df`, `system prune`, `container prune`: what there is, what is used, and what goes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.commands import Minirun

    Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def store(minirun: Minirun, busybox_rootfs: Path, tmp_path: Path) -> Iterator[Command]:
    """Return minirun on a store of its own: an image, a container that runs, one that has ended, two volumes."""

    def command(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
        return minirun("--root", tmp_path / "root", "--state", tmp_path / "state", *arguments, **options)  # type: ignore[arg-type]

    command("import", busybox_rootfs, "box")
    command("run", "-d", "--name=runs", "--network=none", "-v", "kept:/data", "box", "sleep", "1000")
    script = "head -c 5000 /dev/zero > /written; head -c 300 /dev/zero > /data/file"
    command(
        "run", "--name=ended", "--network=none", "--label", "who=me", "-v", "unused:/data", "box", "sh", "-c", script
    )
    yield command
    command("rm", "-f", "runs", "ended", check=False)


def totals(store: Command) -> dict[str, dict[str, str]]:
    lines = store("system", "df", "--format", "json").stdout.splitlines()
    return {row["Type"]: row for row in map(json.loads, lines)}


def test_df_adds_up_what_there_is(store: Command, busybox_rootfs: Path) -> None:
    table = store("system", "df").stdout.splitlines()
    assert table[0].split() == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    before = totals(store)
    assert (before["Images"]["TotalCount"], before["Images"]["Active"]) == ("1", "1")
    assert before["Images"]["Reclaimable"] == "0B (0%)"
    assert (before["Containers"]["TotalCount"], before["Containers"]["Active"]) == ("2", "1")
    assert (before["Containers"]["Size"], before["Containers"]["Reclaimable"]) == ("5kB", "5kB (100%)")
    assert (before["Local Volumes"]["TotalCount"], before["Local Volumes"]["Size"]) == ("2", "300B")
    assert before["Local Volumes"]["Reclaimable"] == "0B (0%)"

    details = store("system", "df", "-v").stdout
    assert details.startswith("Images space usage:\n\nREPOSITORY   TAG       IMAGE ID ")
    assert "\nunused        1         300B" in details
    assert store("system", "df", "-v", "--format", "json", check=False).returncode == 1

    # Another image on the same layer shares it: nothing is counted twice, and removing it would give nothing back.
    store("import", "--change", "LABEL a=1", busybox_rootfs, "other")
    assert totals(store)["Images"] == before["Images"] | {"TotalCount": "2"}


def test_prune_takes_what_is_not_used_and_nothing_else(store: Command) -> None:
    asked = store("system", "prune", "--volumes", input="n\n").stdout
    assert asked == (
        "WARNING! This will remove:\n"
        "  - all stopped containers\n"
        "  - all networks not used by at least one container\n"
        "  - all anonymous volumes not used by at least one container\n"
        "  - all dangling images\n"
        "  - all dangling build cache\n"
        "\n"
        "Are you sure you want to continue? [y/N]: "
    )
    assert store("container", "prune", "-f", "--filter", "label=who=you").stdout == "Total reclaimed space: 0B\n"
    assert store("container", "prune", "-f", "--filter", "until=1h").stdout == "Total reclaimed space: 0B\n"
    ended = store("inspect", "-f", "{{.Id}}", "ended").stdout.strip()
    done = store("container", "prune", "-f", "--filter", "label=who=me")
    assert done.stdout == f"Deleted Containers:\n{ended}\n\nTotal reclaimed space: 5kB\n"
    assert totals(store)["Local Volumes"]["Reclaimable"] == "300B (100%)"

    assert store("system", "prune", "-f").stdout == "Total reclaimed space: 0B\n"
    assert totals(store)["Local Volumes"]["TotalCount"] == "2", "volumes are data: they go only when that is said"
    refused = store("system", "prune", "-f", "--volumes", "--filter", "until=1h", check=False)
    assert refused.returncode == 1
    assert 'the "until" filter is not supported with "--volumes"' in refused.stderr
    done = store("system", "prune", "-af", "--volumes")
    assert done.stdout == "Total reclaimed space: 0B\n", "those with a name stay"
    done = store("volume", "prune", "-af")
    assert done.stdout == "Deleted Volumes:\nunused\n\nTotal reclaimed space: 300B\n"
    assert totals(store)["Local Volumes"]["TotalCount"] == "1"
    assert store("exec", "runs", "ls", "/data").returncode == 0

    store("rm", "-f", "runs")
    done = store("system", "prune", "-af")
    assert "untagged: box:latest\ndeleted: sha256:" in done.stdout
    assert totals(store)["Images"]["TotalCount"] == "0"
