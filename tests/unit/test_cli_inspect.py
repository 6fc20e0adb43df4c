"""The inspect document, `ps` rows and `stats` rows of containers that need not run for it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from minirun.cli.output import ps as ps_output
from minirun.cli.output.template import render
from minirun.cli.verbs.container import stats, top
from minirun.engine.container.inspect import container_document, rfc3339
from minirun.engine.container.status import Status
from minirun.engine.container.usage import ProcessInfo, Statistics
from minirun.errors import MinirunError
from minirun.model.container import ContainerRecord, ExitStatus, RunRequest, VolumeMount
from minirun.model.image import ImageConfig
from minirun.model.layout import Layout
from minirun.model.network import Endpoint, PortMapping

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_700_000_000.25
IMAGE = ImageConfig(env=("PATH=/image", "A=1"), cmd=("default",), exposed_ports=("443/tcp",), labels={"of": "image"})
REQUEST = RunRequest(
    "busybox",
    command=("sleep", "100"),
    environment=("A=2", "B=3"),
    labels={"com.example.role": "web"},
    mounts=(
        VolumeMount("bind", "/x", "/host", read_only=True, flag="-v", mode="ro"),
        VolumeMount("volume", "/v", "name", flag="-v"),
    ),
    detach=True,
)
PORTS = (PortMapping(80, 8080), PortMapping(53, 53, "127.0.0.1", "udp"))
ENDPOINT = Endpoint("bridge", "10.88.0.2", 16, "10.88.0.1", "02:42:0a:58:00:02", "mr0", PORTS)
RECORD = ContainerRecord(
    "ab" * 32, "web", "busybox", "sha256:" + "c" * 64, ("sleep", "100"), NOW, REQUEST, NOW + 1, 0, ENDPOINT
)
RUNNING = Status("running", 77)
ENDED = Status("exited", exit=ExitStatus(137, 9, True, NOW + 5))
LAYOUT = Layout("/nonexistent/root", "/nonexistent/state")


def test_a_running_container() -> None:
    document = container_document(LAYOUT, RECORD, RUNNING, IMAGE)
    assert (document["Id"], document["Name"], document["Path"], document["Args"]) == (
        RECORD.id,
        "/web",
        "sleep",
        ["100"],
    )
    assert document["Created"] == "2023-11-14T22:13:20.25Z"
    assert document["State"]["Status"] == "running"
    assert document["State"]["Running"] is True
    assert document["State"]["Pid"] == 77
    assert document["State"]["StartedAt"] == "2023-11-14T22:13:21.25Z"
    assert document["State"]["FinishedAt"] == "0001-01-01T00:00:00Z"
    assert document["Config"]["Cmd"] == ["sleep", "100"]
    assert set(document["Config"]["Env"]) == {"A=2", "B=3", "PATH=/image"}
    assert document["Config"]["Labels"] == {"of": "image", "com.example.role": "web"}
    assert set(document["Config"]["ExposedPorts"]) == {"443/tcp"}
    assert document["HostConfig"]["Binds"] == ["/host:/x:ro", "name:/v"]
    assert document["HostConfig"]["RestartPolicy"] == {"Name": "no", "MaximumRetryCount": 0}
    assert [(mount["Type"], mount["Destination"], mount["RW"]) for mount in document["Mounts"]] == [
        ("bind", "/x", False),
        ("volume", "/v", True),
    ]
    settings = document["NetworkSettings"]
    assert settings["IPAddress"] == settings["Networks"]["bridge"]["IPAddress"] == "10.88.0.2"
    assert settings["Ports"] == {
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}],
        "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "53"}],
    }


def test_an_ended_container() -> None:
    document = container_document(LAYOUT, RECORD, ENDED, IMAGE)
    state = document["State"]
    assert (state["Running"], state["ExitCode"], state["OOMKilled"]) == (False, 137, True)
    assert state["FinishedAt"] == "2023-11-14T22:13:25.25Z"
    assert document["NetworkSettings"]["IPAddress"] == ""
    assert document["NetworkSettings"]["Ports"] == {}


def test_times() -> None:
    assert rfc3339(0) == "0001-01-01T00:00:00Z"
    assert rfc3339(NOW - 0.25) == "2023-11-14T22:13:20Z"


def test_a_row_of_ps() -> None:
    row = ps_output.row(LAYOUT, RECORD, RUNNING, truncate=True)
    assert (row["ID"], row["Names"], row["Image"]) == ("ab" * 6, "web", "busybox")
    assert row["Command"] == '"sleep 100"'
    assert row["Ports"] == "0.0.0.0:8080->80/tcp, 127.0.0.1:53->53/udp"
    assert render('{{.Label "com.example.role"}}/{{.Label "none"}}', row) == "web/"
    assert row["Mounts"] == "/host,name"
    assert ps_output.row(LAYOUT, RECORD, ENDED, truncate=False)["Ports"] == ""


def test_a_long_command_is_cut() -> None:
    record = RECORD.replace(command=("echo", "0123456789abcdefgh"))
    assert ps_output.row(LAYOUT, record, ENDED, truncate=True)["Command"] == '"echo 0123456789abcd…"'
    assert ps_output.row(LAYOUT, record, ENDED, truncate=False)["Command"] == '"echo 0123456789abcdefgh"'


def test_status_texts() -> None:
    record = RECORD.replace(started_at=time.time() - 125)
    assert ps_output.status_text(record, Status("running", 1)) == "Up 2 minutes"
    assert ps_output.status_text(record, Status("paused", 1)) == "Up 2 minutes (Paused)"
    assert ps_output.status_text(record, Status("exited", exit=ExitStatus(3, finished_at=time.time() - 2.5))) == (
        "Exited (3) 2 seconds ago"
    )
    assert ps_output.status_text(record, Status("created")) == "Created"


@pytest.mark.parametrize(
    ("texts", "matches"),
    [
        ([], True),
        (["name=we"], True),
        (["name=^/web$"], True),
        (["name=x"], False),
        (["name=x", "name=web"], True),
        (["id=abab"], True),
        (["status=running"], True),
        (["status=exited"], False),
        (["label=com.example.role"], True),
        (["label=com.example.role=db"], False),
        (["label=com.example.role", "label=none"], False),
        (["ancestor=busybox"], True),
        (["network=bridge", "volume=/v"], True),
        (["exited=137"], False),
    ],
)
def test_filters(texts: list[str], matches: bool) -> None:
    assert ps_output.Filters.parse(LAYOUT, texts).match(RECORD, RUNNING) is matches


@pytest.mark.parametrize("text", ["name", "colour=red", "status=tired"])
def test_wrong_filters(text: str) -> None:
    with pytest.raises(MinirunError, match="invalid filter"):
        ps_output.Filters.parse(LAYOUT, [text])


def test_what_a_container_has_written(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path), str(tmp_path))
    directory = f"{layout.container(RECORD.id)}/upper/a"
    os.makedirs(directory)
    for name, size in (("x", 1000), ("y", 234)):
        with open(f"{directory}/{name}", "wb") as file:
            file.write(bytes(size))
    assert ps_output.row(layout, RECORD, ENDED, truncate=True, size=True)["Size"] == "1.23kB"


PROCESS = ProcessInfo(7, 1, 0, "S", 34816, 0, time.time() - 100, 3725.0, 1 << 20, 1 << 16, "sh", "sh -c x")


def test_columns_of_top() -> None:
    text = top.table_of([PROCESS], top.columns_of(["-o", "pid,tty,time,rss,comm"]))
    assert [line.split() for line in text.splitlines()] == [
        ["PID", "TTY", "TIME", "RSS", "COMMAND"],
        ["7", "pts/0", "01:02:05", "64", "sh"],
    ]
    assert top.columns_of([]) == top.columns_of(["-ef"])
    assert top.columns_of(["-eo", "pid,args"]) == top.columns_of(["-opid,command"]) == ("pid", "args")
    with pytest.raises(MinirunError, match="top does not know"):
        top.columns_of(["-o", "colour"])


def test_rows_of_stats() -> None:
    first = Statistics(1_000_000, 5 << 20, 10 << 20, 1500, 20, None, None, 3)
    second = first.replace(cpu_usec=1_500_000)
    row = stats.usage_row(RECORD, stats.Sample(1.0, first), stats.Sample(2.0, second), truncate=True)
    assert (row["CPUPerc"], row["MemUsage"], row["MemPerc"]) == ("50.00%", "5MiB / 10MiB", "50.00%")
    assert (row["NetIO"], row["BlockIO"], row["PIDs"]) == ("1.5kB / 20B", "-- / --", "3")
    stopped = stats.usage_row(RECORD, None, stats.Sample(2.0, None), truncate=True)
    assert (stopped["CPUPerc"], stopped["MemUsage"]) == ("--", "-- / --")
    unknown = stats.usage_row(RECORD, None, stats.Sample(2.0, first.replace(memory=None)), truncate=False)
    assert (unknown["ID"], unknown["MemUsage"], unknown["MemPerc"]) == (RECORD.id, "-- / 10MiB", "--")
