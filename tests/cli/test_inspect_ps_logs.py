"""What `ps`, `inspect`, `logs`, `top`, `stats` and `port` say about containers."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.commands import Minirun

    RunInBackground = Callable[..., str]


def state(minirun: Minirun, name: str) -> dict[str, Any]:
    found: dict[str, Any] = minirun.inspect(name)["State"]
    return found


def test_ps(minirun: Minirun, background: RunInBackground, busybox_image: str) -> None:
    container = background("web-1", "-l", "tier=web", command=("sh", "-c", "sleep 1000; echo a long command line"))
    minirun("run", "--name=web-2", "-l", "tier=db", "--network=none", busybox_image, "sh", "-c", "exit 2", check=False)
    minirun("create", "--name=job", busybox_image)

    def names(*arguments: str) -> list[str]:
        return sorted(minirun("ps", "--format", "{{.Names}}", *arguments).stdout.split())

    assert names() == ["web-1"]
    assert names("-a") == ["job", "web-1", "web-2"]
    assert names("-a", "--filter", "name=web") == ["web-1", "web-2"]
    assert names("--filter", "status=exited") == ["web-2"]
    assert names("--filter", "status=created") == ["job"]
    assert names("-a", "--filter", "label=tier") == ["web-1", "web-2"]
    assert names("-a", "--filter", "label=tier=db") == ["web-2"]
    assert names("-a", "--filter", f"ancestor={busybox_image}") == ["job", "web-1", "web-2"]
    assert names("-a", "--filter", "exited=2") == ["web-2"]
    assert minirun("ps", "-q").stdout == f"{container[:12]}\n"
    assert minirun("ps", "-q", "--no-trunc").stdout == f"{container}\n"
    header, line = minirun("ps").stdout.splitlines()
    assert header.split("  ")[0] == "CONTAINER ID"
    assert '"sh -c \'sleep 1000; …"' in line
    assert "Up " in line
    row = json.loads(minirun("ps", "--format", "json").stdout)
    assert (row["Names"], row["State"], row["Image"]) == ("web-1", "running", busybox_image)


def test_inspect(minirun: Minirun, background: RunInBackground, busybox_image: str) -> None:
    container = background("box", "-e", "A=1", "-l", "x=y", "-u", "user")
    document = minirun.inspect("box")
    assert document["Id"] == container
    assert document["Path"] == "sleep"
    assert document["Args"] == ["1000"]
    assert document["Config"]["Image"] == busybox_image
    assert document["Config"]["Labels"] == {"x": "y"}
    assert document["Config"]["User"] == "user"
    assert document["HostConfig"]["NetworkMode"] == "none"
    assert document["State"]["Running"] is True
    assert (json.loads(minirun("inspect", "-f", "{{json .State.Pid}}", "box").stdout)) == document["State"]["Pid"]
    assert minirun("inspect", "--format", "{{.Name}} {{.State.Status}}", "box").stdout == "/box running\n"
    done = minirun("inspect", "missing", check=False)
    assert (done.returncode, json.loads(done.stdout)) == (1, [])
    assert "missing" in done.stderr


def test_inspect_tells_sizes_if_asked(minirun: Minirun, background: RunInBackground) -> None:
    background("box", command=["sh", "-c", "head -c 100000 /dev/zero >/big; exec sleep 1000"])
    eventually(lambda: json.loads(minirun("inspect", "--size", "box").stdout)[0]["SizeRw"] == 100000)
    [document] = json.loads(minirun("inspect", "-s", "box").stdout)
    assert document["SizeRootFs"] > 1100000  # with the image's busybox
    assert "SizeRw" not in minirun.inspect("box")


def test_inspect_after_the_end(minirun: Minirun, busybox_image: str) -> None:
    minirun("run", "--name=ended", "--network=none", busybox_image, "sh", "-c", "exit 3", check=False)
    ended = state(minirun, "ended")
    assert (ended["Status"], ended["Running"], ended["ExitCode"], ended["Pid"]) == ("exited", False, 3, 0)
    assert ended["OOMKilled"] is False
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", ended["FinishedAt"])
    assert ended["FinishedAt"] > ended["StartedAt"]


def test_logs(minirun: Minirun, busybox_image: str) -> None:
    script = "for i in 1 2 3; do echo out $i; echo err $i >&2; done; printf partial; sleep 0.1; printf ' line'"
    minirun("run", "--name=talks", "--network=none", busybox_image, "sh", "-c", script)
    done = minirun("logs", "talks")
    assert done.stdout == "out 1\nout 2\nout 3\npartial line"
    assert done.stderr == "err 1\nerr 2\nerr 3\n"
    tail = minirun("logs", "--tail", "2", "talks")
    assert (tail.stdout, tail.stderr) == ("partial line", "err 3\n")
    for line in minirun("logs", "-t", "talks").stdout.splitlines():
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (out \d|partial line)$", line)
    assert minirun("logs", "--since", "1h", "talks").stdout == done.stdout
    assert minirun("logs", "--until", "1h", "talks").stdout == ""


def test_following_logs_ends_with_the_container(minirun: Minirun, background: RunInBackground) -> None:
    background("talks", command=("sh", "-c", "for i in 1 2 3 4; do echo $i; sleep 0.1; done"))
    assert minirun("logs", "-f", "talks", timeout=20).stdout == "1\n2\n3\n4\n"


def test_top(minirun: Minirun, background: RunInBackground) -> None:
    background("box", command=("sh", "-c", "sleep 777 & sleep 888"))
    eventually(lambda: "sleep 888" in minirun("top", "box").stdout)
    lines = minirun("top", "box").stdout.splitlines()
    assert len(lines) == 3
    assert lines[0].split()[:3] in (["UID", "PID", "PPID"], ["USER", "PID", "PPID"])
    assert minirun("top", "box", "-o", "pid,args").stdout.split("\n")[0].split() == ["PID", "COMMAND"]
    pids = [line.split()[0] for line in minirun("top", "box", "-o", "pid").stdout.splitlines()[1:]]
    assert str(state(minirun, "box")["Pid"]) in pids


def test_stats(minirun: Minirun, background: RunInBackground) -> None:
    background("box", command=("sh", "-c", "while :; do :; done"))
    row = json.loads(minirun("stats", "--no-stream", "--format", "json", "box").stdout)
    assert row["Name"] == "box"
    assert float(row["CPUPerc"].rstrip("%")) > 5
    assert row["PIDs"] == "1"
    assert "CPU %" in minirun("stats", "--no-stream").stdout


def test_ports_are_told(minirun: Minirun, background: RunInBackground) -> None:
    background("web", "--network", "bridge", "-p", "127.0.0.1:18080:80", "-p", "53:53/udp", "-p", "82")
    lines = minirun("port", "web").stdout.splitlines()
    assert "80/tcp -> 127.0.0.1:18080" in lines
    assert "53/udp -> 0.0.0.0:53" in lines
    assert minirun("port", "web", "80").stdout == "127.0.0.1:18080\n"
    assert minirun("port", "web", "53/udp").stdout.splitlines()[0] == "0.0.0.0:53"
    assert int(minirun("port", "web", "82").stdout.splitlines()[0].rpartition(":")[2]) >= 32768
    assert minirun("port", "web", "99", check=False).returncode == 1
    assert "127.0.0.1:18080->80/tcp" in minirun("ps").stdout
    ports = minirun.inspect("web")["NetworkSettings"]["Ports"]
    assert ports["80/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": "18080"}]
