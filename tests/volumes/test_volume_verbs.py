"""`volume create|ls|inspect|rm|prune`: what they print, in which words they refuse, and with which exit codes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.commands import Minirun

VOLUMES = Path("/var/lib/minirun/volumes")
ANONYMOUS = "com.docker.volume.anonymous"


def names(minirun: Minirun, *filters: str) -> list[str]:
    return minirun("volume", "ls", "-q", *(f"--filter={text}" for text in filters)).stdout.split()


def test_create_prints_the_name_and_leaves_an_existing_one(minirun: Minirun) -> None:
    assert minirun("volume", "create", "--label", "k=v", "--label", "x", "one").stdout == "one\n"
    assert minirun("volume", "create", "--label", "k=w", "one").stdout == "one\n"
    document = json.loads(minirun("volume", "inspect", "one").stdout)[0]
    created = document.pop("CreatedAt")
    assert created.endswith("Z")
    assert document == {
        "Driver": "local",
        "Labels": {"k": "v", "x": ""},
        "Mountpoint": f"{VOLUMES}/one/_data",
        "Name": "one",
        "Options": None,
        "Scope": "local",
    }
    assert Path(document["Mountpoint"]).stat().st_mode & 0o7777 == 0o755
    random = minirun("volume", "create").stdout.strip()
    assert len(random) == 64
    assert json.loads(minirun("volume", "inspect", random).stdout)[0]["Labels"] == {ANONYMOUS: ""}
    assert minirun("volume", "create", "--name", "two").stdout == "two\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a"], "create a: volume name is too short, names should be at least two alphanumeric characters"),
        (["a/b"], 'create a/b: "a/b" includes invalid characters for a local volume name'),
        ([".."], 'create ..: ".." includes invalid characters for a local volume name'),
        (["--driver=nope", "ab"], 'create ab: error looking up volume plugin nope: plugin "nope" not found'),
        (["-o", "foo=bar", "ab"], 'create ab: invalid option: "foo"'),
        (["-o", "type=tmpfs", "ab"], 'create ab: missing required option: "device"'),
        (["-o", "device=tmpfs", "-o", "o=size=1m", "ab"], 'create ab: missing required option: "type"'),
        (["-o", "size=10m", "ab"], "create ab: quota size requested but no quota support"),
        (["--name=ab", "cd"], "conflicting options: cannot specify a volume-name through both --name and as a pos"),
    ],
)
def test_what_create_refuses(minirun: Minirun, words: list[str], message: str) -> None:
    done = minirun("volume", "create", *words, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert names(minirun) == []


def test_ls_and_its_formats(minirun: Minirun) -> None:
    minirun("volume", "create", "--label", "k=v", "--label", "x=", "two")
    minirun("volume", "create", "one")
    assert minirun("volume", "ls").stdout == "DRIVER    VOLUME NAME\nlocal     one\nlocal     two\n"
    template = '{{.Name}} {{.Driver}} {{.Scope}} {{.Labels}} {{.Label "k"}} {{.Links}} {{.Size}} {{.Mountpoint}}'
    assert minirun("volume", "ls", "--format", template).stdout.splitlines() == [
        f"one local local   N/A N/A {VOLUMES}/one/_data",
        f"two local local k=v,x= v N/A N/A {VOLUMES}/two/_data",
    ]
    rows = [json.loads(line) for line in minirun("volume", "ls", "--format=json").stdout.splitlines()]
    assert rows[0] == {
        "Availability": "N/A",
        "Driver": "local",
        "Group": "N/A",
        "Labels": "",
        "Links": "N/A",
        "Mountpoint": f"{VOLUMES}/one/_data",
        "Name": "one",
        "Scope": "local",
        "Size": "N/A",
        "Status": "N/A",
    }
    table = minirun("volume", "ls", "--format", "table {{.Name}}\t{{.Labels}}").stdout
    assert table == "VOLUME NAME   LABELS\none           \ntwo           k=v,x=\n"


def test_filters(minirun: Minirun, background: Callable[..., str]) -> None:
    minirun("volume", "create", "--label", "k=v", "--label", "x", "labelled")
    minirun("volume", "create", "free")
    background("holder", "-v", "used:/data")
    assert names(minirun, "label=k") == names(minirun, "label=k=v") == ["labelled"]
    assert names(minirun, "label=k=w") == names(minirun, "label=k", "label=none") == []
    assert names(minirun, "dangling=true") == ["free", "labelled"]
    assert names(minirun, "dangling=0") == ["used"]
    assert names(minirun, "name=^[fu]") == ["free", "used"]
    assert names(minirun, "name=free", "name=used") == ["free", "used"]
    assert len(names(minirun, "driver=local")) == 3
    assert names(minirun, "driver=loc") == []
    for text, code in (("bogus=1", 1), ("dangling=maybe", 1), ("name=(", 1), ("bogus", 125)):
        done = minirun("volume", "ls", "--filter", text, check=False)
        assert done.returncode == code, text
        assert "nvalid filter" in done.stderr


def test_inspect(minirun: Minirun) -> None:
    minirun("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,uid=3", "tm")
    missing = minirun("volume", "inspect", "tm", "none", check=False)
    assert missing.returncode == 1
    assert [document["Name"] for document in json.loads(missing.stdout)] == ["tm"]
    assert "get none: no such volume" in missing.stderr
    none = minirun("volume", "inspect", "none", check=False)
    assert (none.returncode, none.stdout) == (1, "[]\n")
    shown = minirun("volume", "inspect", "-f", "{{.Options.o}} {{.Options}}", "tm").stdout
    assert shown == "size=1m,uid=3 map[device:tmpfs o:size=1m,uid=3 type:tmpfs]\n"
    assert minirun("volume", "inspect", "-f", "{{.Name}}", "../volumes/tm", check=False).returncode == 1


def test_rm(minirun: Minirun, background: Callable[..., str]) -> None:
    holder = background("holder", "-v", "used:/data")
    minirun("volume", "create", "one")
    minirun("volume", "create", "two")
    done = minirun("volume", "rm", "one", "none", "two", check=False)
    assert (done.returncode, done.stdout) == (1, "one\ntwo\n")
    assert "get none: no such volume" in done.stderr
    assert minirun("volume", "rm", "-f", "none").stdout == "none\n"
    for force in ([], ["-f"]):
        refused = minirun("volume", "rm", *force, "used", check=False)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert f"remove used: volume is in use - [{holder}]" in refused.stderr
    minirun("stop", "-t", "0", "holder")
    assert minirun("volume", "rm", "used", check=False).returncode == 1, "one that has ended has it still"
    minirun("rm", "holder")
    assert minirun("volume", "rm", "used").stdout == "used\n"
    assert os.listdir(VOLUMES) == []
    assert minirun("volume", "rm", check=False).returncode == 1


def test_prune_takes_those_without_a_name_or_all(minirun: Minirun, background: Callable[..., str]) -> None:
    background("holder", "-v", "/anonymous", "-v", "used:/data")
    random = minirun("volume", "create").stdout.strip()
    minirun("volume", "create", "--label", "keep", "labelled")
    minirun("volume", "create", "named")
    minirun("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "elsewhere")
    (VOLUMES / "named/_data/file").write_bytes(b"x" * 3000)
    asked = minirun("volume", "prune", input="n\n").stdout
    assert asked.startswith(
        "WARNING! This will remove anonymous local volumes not used by at least one container.\nAre you sure"
    )
    assert minirun("volume", "prune", "-f").stdout == f"Deleted Volumes:\n{random}\n\nTotal reclaimed space: 0B\n"
    asked = minirun("volume", "prune", "-a", input="n\n").stdout
    assert asked.startswith("WARNING! This will remove all local volumes not used by at least one container.\n")
    done = minirun("volume", "prune", "-af", "--filter", "label!=keep").stdout
    assert done == "Deleted Volumes:\nnamed\n\nTotal reclaimed space: 3kB\n"
    assert minirun("volume", "prune", "-f", "--filter", "until=1h", check=False).returncode == 1
    left = names(minirun)
    assert {"elsewhere", "labelled", "used"} < set(left), "its files may be anywhere: one with options stays"
    assert len(left) == 4


def test_system_prune_and_df(minirun: Minirun, background: Callable[..., str]) -> None:
    background("holder", "-v", "used:/data")
    random = minirun("volume", "create").stdout.strip()
    minirun("volume", "create", "named")
    (VOLUMES / "used/_data/file").write_bytes(b"x" * 5000)
    rows = [json.loads(line) for line in minirun("system", "df", "--format=json").stdout.splitlines()]
    volumes = next(row for row in rows if row["Type"] == "Local Volumes")
    assert (volumes["TotalCount"], volumes["Active"], volumes["Size"]) == ("3", "1", "5kB")
    assert volumes["Reclaimable"] == "0B (0%)"
    details = minirun("system", "df", "-v").stdout
    assert "\nused " in details
    minirun("system", "prune", "-f")
    assert random in names(minirun), "volumes are data: they go only when that is said"
    assert f"Deleted Volumes:\n{random}\n" in minirun("system", "prune", "-f", "--volumes").stdout
    assert names(minirun) == ["named", "used"]


def test_a_damaged_record_is_told_and_its_files_stay(minirun: Minirun) -> None:
    minirun("volume", "create", "bad")
    minirun("volume", "create", "good")
    (VOLUMES / "bad/_data/file").write_text("data")
    (VOLUMES / "bad/volume.json").write_text("{")
    listed = minirun("volume", "ls", "-q")
    assert listed.stdout.split() == ["bad", "good"]
    assert "is damaged" in listed.stderr
    assert minirun("volume", "inspect", "bad", check=False).returncode != 0
    minirun("volume", "prune", "-af")
    assert names(minirun) == ["bad"], "its files may be elsewhere"
    minirun("volume", "rm", "bad")
    assert names(minirun) == []


def test_a_volume_of_an_earlier_minirun_has_no_record(minirun: Minirun) -> None:
    (VOLUMES / "old/_data").mkdir(parents=True)
    document = json.loads(minirun("volume", "inspect", "old").stdout)[0]
    assert (document["Name"], document["Labels"], document["Options"]) == ("old", None, None)
