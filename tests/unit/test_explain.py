"""The story of a trace, the process that prints it, and the chapters behind its topics."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import minirun
from minirun.errors import MinirunError
from minirun.explain.printer import print_events
from minirun.explain.story import Story
from minirun.explain.topics import ALSO, CHAPTERS, chapter
from minirun.kernel.trace import Event, event_from_json, forward_to, operation

PACKAGE = Path(minirun.__file__).parent


def event(operation: str = "mount", **changes: Any) -> Event:
    made = Event(
        process="minirun",
        pid=7,
        steps=(),
        operation=operation,
        arguments={"source": "proc", "target": "/a b"},
        result="",
        error="",
        started_ns=0,
        duration_ns=1500,
        man="mount(2)",
        shell="mount proc '/a b'",
    )
    return made.replace(**changes)


def test_an_operation_is_told_with_its_result_time_page_and_shell_line() -> None:
    assert Story(colours=False).lines(event()) == [
        "-- minirun (process 7)",
        "  mount(source=proc, target=/a b) = ok  2 us  mount(2)",
        "  $ mount proc '/a b'",
    ]


def test_results_and_errors() -> None:
    story = Story(colours=False)
    assert " = 5  2 us" in story.lines(event(result="5"))[-2]
    assert " = EPERM  2 us" in story.lines(event(error="EPERM"))[-2]
    assert story.lines(event(shell="", man="", duration_ns=2_500_000)) == [
        "  mount(source=proc, target=/a b) = ok  2.5 ms"
    ]


def test_steps_are_announced_once_and_nest() -> None:
    outer, inner, other = ("outer", "procfs", "Because."), ("inner", "", ""), ("other", "", "")
    story = Story(colours=False)
    told = [
        line
        for steps in ((outer,), (outer, inner), (outer, inner), (outer, other), (outer,), (inner,))
        for line in story.lines(event(steps=steps, shell=""))
    ]
    call = "mount(source=proc, target=/a b) = ok  2 us  mount(2)"
    assert told == [
        "-- minirun (process 7)",
        "* outer  [procfs]",
        "  Because.",
        f"    {call}",
        "  * inner",
        f"      {call}",
        f"      {call}",
        "  * other",
        f"      {call}",
        f"    {call}",
        "* inner",
        f"    {call}",
    ]


def test_a_process_is_named_again_when_the_story_comes_back_to_it() -> None:
    story = Story(colours=False)
    step = (("a step", "", ""),)
    first = story.lines(event(steps=step))
    between = story.lines(event(process="container", pid=8, steps=step))
    again = story.lines(event(steps=step))
    assert first == again
    assert between[:2] == ["-- container (process 8)", "* a step"]


def test_a_terminal_is_safe_from_what_images_hold() -> None:
    hostile = "\x1b]0;owned\x07\r\n\x9b2J\udcff"
    lines = Story(colours=False).lines(
        event(arguments={"target": hostile}, shell=hostile, steps=((hostile, "", hostile),), result=hostile)
    )
    assert all(character.isprintable() for line in lines for character in line)


@given(st.text(), st.dictionaries(st.sampled_from(["source", "target"]), st.text()), st.text())
def test_any_event_can_be_told(result: str, arguments: dict[str, str], shell: str) -> None:
    lines = Story(colours=False).lines(event(result=result, arguments=arguments, shell=shell))
    assert all(character.isprintable() for line in lines for character in line)


def test_colours_do_not_change_the_text() -> None:
    steps = (("a step", "procfs", "Because."),)
    coloured = Story(colours=True).lines(event(steps=steps))
    assert [re.sub("\x1b\\[[0-9;]*m", "", line) for line in coloured] == Story(colours=False).lines(event(steps=steps))
    assert any("\x1b[" in line for line in coloured)


def test_long_values_are_cut_and_ids_shortened() -> None:
    lines = Story(colours=False).lines(
        event(arguments={"a": "x" * 500, "b": f"/run/{'0123456789abcdef' * 4}/y"}, shell="")
    )
    assert "... (500 characters)" in lines[-1]
    assert "b=/run/0123456789ab.../y" in lines[-1]


def test_shell_lines_are_quoted_where_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Event] = []
    monkeypatch.setattr("minirun.kernel.trace._tracer", told.append)

    @operation("echo(1)", "echo {text} > {path}")
    def write(path: str, text: str) -> None:
        pass

    write("/x", "a'b {path}")
    write("/y z", "plain")
    assert [one.shell for one in told] == ["""echo 'a'"'"'b {path}' > /x""", "echo plain > '/y z'"]


@pytest.mark.parametrize("style", ["story", "json"])
def test_events_arrive_whole(style: str) -> None:
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sent = [event(result=str(number)) for number in range(3)]
    with sender, receiver:
        for one in sent:
            forward_to(sender)(one)
        sender.send(b"end")
        output = io.StringIO()
        print_events(receiver, output, style)
    if style == "json":
        assert [event_from_json(line) for line in output.getvalue().splitlines()] == sent
    else:
        assert re.findall(r" = (\d) ", output.getvalue()) == ["0", "1", "2"]


PROGRAM = """
import os
from minirun.explain.printer import Printer
from minirun.kernel.trace import name_process, operation, step

@operation("getpid(2)", "echo {text}")
def ask(text): return len(text)

printer = Printer.start("json")
with step("outer", "procfs", "why"):
    ask("first")
    children = []
    for number in range(3):
        children.append(os.fork())
        if children[-1] == 0:
            name_process("child")
            for turn in range(200):
                ask(f"{number} {turn}" + "x" * 3000)
            os._exit(0)
for child in children:
    os.waitpid(child, 0)
ask("last")
printer.finish()
ask("after the end")
print("done")
"""


def test_all_processes_tell_one_printer_and_nothing_is_lost() -> None:
    """600 events of 3 kB from three processes at once: more than the socket holds, so senders must wait."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.stdout == "done\n"
    assert len(events) == 602
    assert (events[0]["arguments"]["text"], events[-1]["arguments"]["text"]) == ("first", "last")
    children = [one for one in events if one["process"] == "child"]
    assert len({one["pid"] for one in children}) == 3
    for number in range(3):
        turns = [
            int(one["arguments"]["text"].split("x")[0].split()[1])
            for one in children
            if one["arguments"]["text"].startswith(f"{number} ")
        ]
        assert turns == list(range(200))


def test_the_printer_outlives_a_killed_command_only_until_its_senders_are_gone() -> None:
    program = PROGRAM.replace('ask("last")', "os.kill(os.getpid(), 9)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    # `run` returns when every process has closed standard error, so the printer has ended, too.
    assert done.returncode == -9
    assert len(done.stderr.splitlines()) == 601


def test_a_closed_standard_error_stops_nothing() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=write_end, text=True, check=True, timeout=60
    )
    os.close(write_end)
    assert done.stdout == "done\n"


# -- chapters --------------------------------------------------------------------------------------------------------


def topics_of_steps() -> set[str]:
    """Find the literal topics of every `step(title, topic, ...)` and `step(..., topic=...)` of the package."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "step":
                given_topics = node.args[1:2] + [keyword.value for keyword in node.keywords if keyword.arg == "topic"]
                found |= {topic.value for topic in given_topics if isinstance(topic, ast.Constant)}
    return found - {""}


def test_every_topic_of_a_step_has_a_chapter() -> None:
    topics = topics_of_steps()
    assert len(topics) > 10
    assert sorted(topic for topic in topics if topic not in CHAPTERS and topic not in ALSO) == []


def test_chapters_fit_a_terminal_and_name_their_sources() -> None:
    for name, about in CHAPTERS.items():
        lines = about.text.splitlines()
        assert 5 <= len(lines) <= 25, name
        assert max(map(len, lines)) <= 80, name
        assert re.search(r"\w\(\d\)|spec", about.man), name
    assert set(ALSO.values()) <= CHAPTERS.keys()


def test_an_alias_leads_to_its_chapter_and_nonsense_to_an_error() -> None:
    assert chapter("veth") is CHAPTERS["network"]
    with pytest.raises(MinirunError, match="no chapter about 'x'") as caught:
        chapter("x")
    assert "namespaces" in caught.value.hint
