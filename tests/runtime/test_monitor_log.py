"""The log that the monitor writes: its lines, its rotation, and what its followers are told."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monitored import LINE, collect, go_decode, send_input

from minirun.engine.container import monitor_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from monitored import Monitored


def test_log_of_both_streams(monitored: Callable[..., Monitored]) -> None:
    script = "echo '<a> & \"b\"'; read x; echo err >&2; read x; echo; printf end"
    monitor = monitored("sh", "-c", script, subscribe="ioe")
    for _ in range(2):
        monitor_client.receive(monitor.control)  # what it has written: only then does it go on
        monitor.control.sendall(b"i\n")
    collect(monitor.control)
    assert monitor.log.read_bytes().startswith(rb'{"log":"\u003ca\u003e \u0026 \"b\"\n","stream":"stdout","time":"20')
    entries = monitor.entries()
    assert [(e["log"], e["stream"]) for e in entries] == [
        ('<a> & "b"\n', "stdout"),
        ("err\n", "stderr"),
        ("\n", "stdout"),
        ("end", "stdout"),
    ]
    seconds = [time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() - n)) for n in (0, 60)]
    assert all(e["time"][:16] in seconds and len(e["time"]) == 30 and e["time"][-1] == "Z" for e in entries)
    assert [e["time"] for e in entries] == sorted(e["time"] for e in entries)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.one_of(
        st.binary(max_size=200),
        st.text(max_size=100).map(str.encode),
        st.lists(st.sampled_from([b"\xe2\x82", b"\xf0\x9f\x98\x80", b"\xed\xa0\x80", b"\xc0\x80", b"\n", b"a"])).map(
            b"".join
        ),
        st.integers(LINE - 3, LINE + 3).map(lambda n: b"x" * n + "\u20ac\n\u20ac".encode() * 2),
    )
)
def test_any_bytes_make_a_valid_log(monitored: Callable[..., Monitored], data: bytes) -> None:
    monitor = monitored("cat", subscribe="io", options=("--stdin-once",))
    send_input(monitor.control, data)
    assert collect(monitor.control)[0] == data
    entries = monitor.entries()
    assert "".join(entry["log"] for entry in entries) == go_decode(data)
    assert all("\n" not in entry["log"][:-1] for entry in entries)
    assert all(len(entry["log"]) <= LINE + 1 for entry in entries)
    monitor.close()


def test_long_lines_are_split_as_docker_splits_them(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("sh", "-c", "head -c 40000 /dev/zero | tr '\\0' y; echo; echo next")
    collect(monitor.control)
    entries = monitor.entries()
    assert [len(entry["log"]) for entry in entries] == [LINE, LINE, 40000 - 2 * LINE + 1, 5]
    assert len({entry["time"] for entry in entries[:3]}) == 1


def test_rotation(monitored: Callable[..., Monitored]) -> None:
    options = ("--log-max-size", "10000", "--log-max-file", "3")
    monitor = monitored("sh", "-c", "seq 1000", options=options)
    collect(monitor.control)
    texts = [entry["log"] for number in (2, 1, 0) for entry in monitor.entries(number)]
    assert texts == [f"{n}\n" for n in range(1001 - len(texts), 1001)]
    assert not monitor.log.with_name("log.3").exists()
    for number in (1, 2):
        assert 10000 <= monitor.log.with_name(f"log.{number}").stat().st_size < 10200


def test_rotation_with_one_file_begins_it_anew(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("sh", "-c", "seq 1000", options=("--log-max-size", "10000"))
    collect(monitor.control)
    texts = [entry["log"] for entry in monitor.entries()]
    assert texts == [f"{n}\n" for n in range(1001 - len(texts), 1001)]
    assert monitor.log.stat().st_size < 10200
    assert not monitor.log.with_name("log.1").exists()


def test_a_log_that_cannot_be_written_costs_lines_and_nothing_else(
    monitored: Callable[..., Monitored], tmp_path: Path
) -> None:
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    monitor = monitored("echo", "hello", log=False, options=("--log", str(full)))
    out, _, record = collect(monitor.control)
    assert out == b"hello\n"
    assert record is not None
    assert record["code"] == 0
    assert "No space left on device" in record["error"]


def test_half_a_line_of_a_killed_monitor_does_not_swallow_the_next(
    monitored: Callable[..., Monitored], tmp_path: Path
) -> None:
    log = tmp_path / "cut.log"
    log.write_bytes(b'{"log":"whole\\n","stream":"stdout","time":"2024-01-02T03:04:05.000000000Z"}\n{"log":"ha')
    monitor = monitored("echo", "hello", log=False, options=("--log", str(log)))
    collect(monitor.control)
    lines = log.read_bytes().splitlines()
    assert lines[1] == b'{"log":"ha'
    assert json.loads(lines[2])["log"] == "hello\n"


def test_followers_of_the_log_are_told_of_its_growth(monitored: Callable[..., Monitored]) -> None:
    monitor = monitored("cat", subscribe="i", options=("--stdin-once",))
    follower = monitor.connect("l")
    time.sleep(0.05)
    monitor.control.sendall(b"ione\n")
    assert monitor_client.wait_news(follower, timeout=5)
    assert [entry["log"] for entry in monitor.entries()] == ["one\n"]
    monitor.control.sendall(b"c")
    while monitor_client.wait_news(follower, timeout=5):
        pass
    assert monitor.exit_file.exists()
