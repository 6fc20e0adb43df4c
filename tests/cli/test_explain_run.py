"""`--explain` on real containers: the story is complete, in order, and apart from the container's own output."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support import image_archives

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.commands import Minirun


def events_of(minirun: Minirun, *arguments: str) -> tuple[str, list[dict[str, Any]]]:
    done = minirun(*arguments)
    return done.stdout, [json.loads(line) for line in done.stderr.splitlines()]


@pytest.mark.parametrize("before", [True, False], ids=["before the command", "after it"])
def test_every_process_tells_its_part(minirun: Minirun, busybox_image: str, before: bool) -> None:
    flag = "--explain=json"
    words = [flag, "run"] if before else ["run", flag]
    output, events = events_of(minirun, *words, "--rm", busybox_image, "echo", "hello", "--explain")
    assert output == "hello --explain\n"
    operations = [event["operation"] for event in events]
    by_process: dict[str, set[str]] = {}
    for event in events:
        by_process.setdefault(event["process"], set()).add(event["operation"])
    assert by_process["shim"] >= {"unshare", "mount", "clone3"}
    assert by_process["container"] >= {"attach_tree", "pivot_root", "seccomp", "capset", "execve"}
    assert by_process["network helper"] >= {"add_veth", "add_address"}
    order = ["clone3", "pivot_root", "seccomp", "execve"]
    assert sorted(order, key=operations.index) == order
    assert max(event["duration_ns"] for event in events) > 0


def test_the_story_names_steps_reasons_and_the_shell(minirun: Minirun, busybox_image: str) -> None:
    done = minirun("--explain", "run", "--rm", "--network=none", busybox_image, "true")
    lines = [line.strip() for line in done.stderr.splitlines()]
    assert "* leave the host's root behind  [pivot_root]" in lines
    assert "$ pivot_root . ." in lines
    assert any(line.startswith("pivot_root(") and line.endswith("pivot_root(2)") for line in lines)
    assert any(line.startswith("-- container (process 1)") for line in lines)


def test_the_story_names_the_namespaces_that_clone3_makes(minirun: Minirun, busybox_image: str) -> None:
    _, events = events_of(minirun, "--explain=json", "run", "--rm", "--network=none", busybox_image, "true")
    [clone] = [event for event in events if event["operation"] == "clone3"]
    assert "cgroup" not in clone["arguments"]["flags"].lower().replace("clone_into_cgroup", "")
    assert "cgroup" not in clone["steps"][-1][0]
    later = [event for event in events if event["operation"] == "unshare" and event["process"] == "container"]
    assert ["CGROUP" in event["arguments"]["flags"] for event in later] == [True]


def test_the_start_fifo_is_in_the_story(minirun: Minirun, busybox_image: str) -> None:
    _, events = events_of(minirun, "--explain=json", "run", "--rm", "--network=none", busybox_image, "true")
    began = {event["operation"]: event["started_ns"] for event in events}
    ended = {event["operation"]: event["started_ns"] + event["duration_ns"] for event in events}
    assert ended["make_fifo"] < began["wait_for_start"]
    # By the time the writer knows that it has written, the other process may already have executed its command.
    assert began["write_to_fifo"] < ended["wait_for_start"] < began["execve"] < ended["execve"]


def test_an_exec_that_fails_is_not_told_as_done(
    minirun: Minirun, make_image: Callable[..., str], busybox_image: str
) -> None:
    image = make_image("unreadable", [image_archives.entry("program", b"\x7fELF no more", mode=0o755)])
    done = minirun("--explain=json", "run", "--rm", "--network=none", image, "/program", check=False)
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert [event["error"] for event in events if event["operation"] == "execve"] == ["ENOEXEC"]
    _, events = events_of(minirun, "--explain=json", "run", "--rm", "--network=none", busybox_image, "true")
    assert [event["error"] for event in events if event["operation"] == "execve"] == [""]


def test_a_joining_process_is_told_with_the_outcome_of_its_exec(
    minirun: Minirun, make_image: Callable[..., str]
) -> None:
    image = make_image("unreadable", [image_archives.entry("program", b"\x7fELF no more", mode=0o755)])
    minirun("run", "-d", "--name", "told", "--network=none", image, "sleep", "60")
    try:
        for command, outcome in (("/program", "ENOEXEC"), ("true", "")):
            for joining in (["exec", "told"], ["run", "--rm", "--network=none", "--pid=container:told", image]):
                done = minirun("--explain=json", *joining, command, check=False)
                events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
                assert [event["error"] for event in events if event["operation"] == "execve"] == [outcome], joining
    finally:
        minirun("rm", "-f", "told")


def test_an_operation_that_fails_is_told_with_its_error(minirun: Minirun, busybox_image: str) -> None:
    done = minirun("--explain=json", "run", "--rm", "--network=none", busybox_image, "no-such-command", check=False)
    assert done.returncode == 127
    told = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    said = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert "clone3" in {event["operation"] for event in told}
    assert said[0] == 'minirun: exec: "no-such-command": executable file not found in $PATH.'
    # What was made is removed after the error, and the story tells that, too.
    assert "remove_directory" in {event["operation"] for event in told}


def test_a_detached_container_does_not_keep_the_story_open(minirun: Minirun, busybox_image: str) -> None:
    """The monitor and the container live on; the reader of standard error must still see its end."""
    output, events = events_of(minirun, "--explain=json", "run", "-d", "--name", "told", busybox_image, "sleep", "60")
    try:
        assert len(output.strip()) == 64
        assert events[-1]["operation"]
    finally:
        minirun("rm", "-f", "told")


def test_other_commands_tell_theirs(minirun: Minirun, busybox_image: str) -> None:
    minirun("run", "-d", "--name", "told", "--network=none", busybox_image, "sleep", "60")
    try:
        _, events = events_of(minirun, "exec", "--explain=json", "told", "true")
        assert "setns" in {event["operation"] for event in events}
    finally:
        _, events = events_of(minirun, "rm", "-f", "told", "--explain=json")
    assert {event["process"] for event in events} == {"minirun"}
    assert any(event["steps"] for event in events)
