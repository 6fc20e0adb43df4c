"""A container's life as callers see it: runtime-spec runtime.md, and what runc's users rely on beyond that."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.eventually import eventually
from support.oci_bundles import v1_hierarchies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.oci_bundles import Bundle, Oci


def status(oci: Oci, container: str) -> str:
    return str(json.loads(oci("state", container).stdout)["status"])


def test_from_created_to_deleted(oci: Oci, bundle: Bundle) -> None:
    container = oci.create(bundle, "sleep 60")
    assert status(oci, container) == "created"
    oci("start", container)
    assert status(oci, container) == "running"
    oci("kill", container, "KILL")
    eventually(lambda: status(oci, container) == "stopped")
    state = json.loads(oci("state", container).stdout)
    assert state["pid"] == 0
    oci("delete", container)
    assert oci.containers() == []
    assert not (oci.root / container).exists()


def test_the_command_waits_for_start(oci: Oci, bundle: Bundle) -> None:
    container = oci.create(bundle, "touch /started; sleep 60")
    time.sleep(0.3)
    assert not (bundle.rootfs / "started").exists()
    oci("start", container)
    eventually((bundle.rootfs / "started").exists)


def test_a_created_container_waits_in_little_memory(oci: Oci, bundle: Bundle) -> None:
    container = oci.create(bundle, "sleep 60")
    lines = Path(f"/proc/{oci.pid(container)}/smaps_rollup").read_text().splitlines()
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
    assert kilobytes["Rss"] < 1024


@pytest.mark.parametrize("word", ["KILL", "SIGKILL", "kill", "9"])
def test_words_for_signals(oci: Oci, bundle: Bundle, word: str) -> None:
    container = oci.create(bundle, "sleep 60")
    oci("kill", container, word)
    eventually(lambda: status(oci, container) == "stopped")


def test_signal_0_asks_whether_it_runs(oci: Oci, bundle: Bundle) -> None:
    container = oci.create(bundle, "sleep 60")
    oci("start", container)
    oci("kill", container, "0")
    assert status(oci, container) == "running"


def test_kill_without_a_signal_says_term(oci: Oci, bundle: Bundle) -> None:
    container = oci.create(
        bundle, "trap 'echo caught > /caught; exit' TERM; touch /ready; while :; do sleep 0.05; done"
    )
    oci("start", container)
    eventually((bundle.rootfs / "ready").exists)
    oci("kill", container)
    eventually((bundle.rootfs / "caught").exists)


def test_kill_all_reaches_every_process(oci: Oci, bundle: Bundle) -> None:
    container = oci.create(bundle, "trap : TERM; sleep 60 & sleep 61 & touch /ready; wait; wait; touch /gone; sleep 62")
    oci("start", container)
    eventually((bundle.rootfs / "ready").exists)
    oci("kill", "--all", container, "TERM")
    eventually((bundle.rootfs / "gone").exists)
    oci("kill", "--all", container, "KILL")
    eventually(lambda: status(oci, container) == "stopped")


def test_kill_without_a_pid_namespace_leaves_no_process(oci: Oci, bundle: Bundle) -> None:
    container = oci.create(bundle.without_namespace("pid"), "sleep 77 & touch /ready; sleep 78")
    oci("start", container)
    eventually((bundle.rootfs / "ready").exists)
    pids = json.loads(oci("ps", "--format", "json", container).stdout)
    assert len(pids) > 1
    oci("kill", container, "KILL")
    eventually(lambda: not any(is_alive(pid) for pid in pids))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("calls", "words"),
    [
        ([["start"], ["start"]], "cannot start an already running container"),
        ([["kill", "9"], ["start"]], "cannot start a container that has stopped"),
        ([["kill", "9"], ["kill", "15"]], "container not running"),
        ([["kill", "9"], ["exec", "true"]], "container not running"),
        ([["kill", "9"], ["pause"]], "container not running"),
        ([["start"], ["resume"]], "container not paused"),
        ([["start"], ["delete"]], "that is not stopped: running"),
        ([["start"], ["pause"], ["exec", "true"]], "paused"),
        ([["delete"], ["delete"]], "container does not exist"),
        ([["delete"], ["state"]], "container does not exist"),
        ([["delete"], ["kill", "9"]], "container does not exist"),
        ([["kill", "NONSENSE"]], "invalid signal: NONSENSE"),
    ],
    ids=lambda value: "-".join(call[0] for call in value) if isinstance(value, list) else "",
)
def test_what_is_refused_in_the_words_that_callers_match(
    oci: Oci, bundle: Bundle, calls: list[list[str]], words: str
) -> None:
    container = oci.create(bundle, "sleep 60")
    *before, (verb, *rest) = calls
    for first, *more in before:
        oci(first, container, *more)
        if first == "kill":
            eventually(lambda: status(oci, container) == "stopped")
    done = oci(verb, container, *rest, check=False)
    assert done.returncode == (255 if verb == "exec" else 1)
    assert words in done.stderr
    if ["pause"] in calls and verb != "pause":
        oci("resume", container)


def test_delete_of_what_is_not_there(oci: Oci, bundle: Bundle) -> None:
    container = oci.create(bundle, "sleep 60")
    oci("delete", container)
    oci("delete", "--force", container)
    oci("delete", "--force", "never-there")


def test_delete_with_force_ends_what_runs(oci: Oci, bundle: Bundle) -> None:
    container = oci.create(bundle, "sleep 60")
    oci("start", container)
    pid = oci.pid(container)
    oci("delete", "--force", container)
    assert not is_alive(pid)


def test_delete_with_force_of_a_paused_container(oci: Oci, bundle: Bundle) -> None:
    container = oci.create(bundle, "sleep 60")
    oci("start", container)
    oci("pause", container)
    assert status(oci, container) == "paused"
    oci("delete", "--force", container)
    assert oci.containers() == []


def test_the_same_id_twice(oci: Oci, bundle: Bundle) -> None:
    container = oci.create(bundle, "sleep 60")
    done = oci("create", "--bundle", bundle.path, container, check=False)
    assert done.returncode == 1
    assert "already exists" in done.stderr
    assert status(oci, container) == "created"


def test_the_bundle_may_change_after_create(oci: Oci, bundle: Bundle) -> None:
    bundle.config["hooks"] = {"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", f"touch {bundle.path}/stopped"]}]}
    container = oci.create(bundle, "sleep 60")
    (bundle.path / "config.json").write_text("{}")
    oci("start", container)
    oci("delete", "--force", container)
    assert (bundle.path / "stopped").exists()


# -- several callers at once ------------------------------------------------------------------------------------------


def at_once(count: int, call: Callable[[], subprocess.CompletedProcess[str]]) -> list[int]:
    with ThreadPoolExecutor(count) as pool:
        return sorted(done.returncode for done in [task.result() for task in [pool.submit(call) for _ in range(count)]])


def test_one_of_several_creators_wins(oci: Oci, bundle: Bundle) -> None:
    first = oci.create(bundle, "sleep 60")
    oci("delete", first)
    streams: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": None, "capture_output": False}
    codes = at_once(4, lambda: oci("create", "--bundle", bundle.path, "contested", check=False, **streams))
    assert codes == [0, 1, 1, 1]
    assert status(oci, "contested") == "created"


def test_one_of_several_starters_wins(oci: Oci, bundle: Bundle) -> None:
    container = oci.create(bundle, "sleep 60")
    assert at_once(4, lambda: oci("start", container, check=False)) == [0, 1, 1, 1]


def test_one_of_several_deleters_wins(oci: Oci, bundle: Bundle) -> None:
    container = oci.create(bundle, "sleep 60")
    assert at_once(4, lambda: oci("delete", container, check=False)) == [0, 1, 1, 1]
    assert oci.containers() == []


@contextlib.contextmanager
def creation(oci: Oci, bundle: Bundle, name: str) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], object]]]:
    """Start `create` and stop it in a hook; yield it and a function that lets it go on."""
    gate = bundle.path / "gate"
    os.mkfifo(gate)
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"echo > {gate}.reached; read x < {gate}"]}
    bundle.config["hooks"] = {
        "createRuntime": [hook],
        "poststop": [{"path": "/bin/touch", "args": ["touch", f"{gate}.stopped"]}],
    }
    oci.save(bundle, "sleep 60")
    writer = os.open(gate, os.O_RDWR)
    command = [*oci.command, "create", "--bundle", str(bundle.path), name]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as creator:
        try:
            eventually(Path(f"{gate}.reached").exists)
            yield creator, lambda: os.write(writer, b"\n")
        finally:
            os.write(writer, b"\n")
            os.close(writer)


@pytest.mark.parametrize(
    "verb", ["state", "kill", "start", "exec", "pause", "resume", "update", "ps", "events", "delete"]
)
def test_what_is_being_made_does_not_exist_yet(oci: Oci, bundle: Bundle, verb: str) -> None:
    """Callers poll `state` until it answers, and then `start`. None of these waits: a hook may call them."""
    more = {"exec": ["true"], "update": ["--pids-limit", "5"], "events": ["--stats"]}.get(verb, [])
    with creation(oci, bundle, "slow") as (creator, go_on):
        done = oci(verb, "slow", *more, check=False)
        assert done.returncode == (255 if verb == "exec" else 1)
        assert "container does not exist" in done.stderr
        listed = oci("list", "--quiet")
        assert listed.stdout == ""
        assert "load container slow: container does not exist" in listed.stderr
        go_on()
        assert creator.wait(20) == 0
    assert status(oci, "slow") == "created"


def test_an_id_that_is_being_made_is_taken(oci: Oci, bundle: Bundle) -> None:
    with creation(oci, bundle, "slow") as (creator, go_on):
        second = oci("create", "--bundle", bundle.path, "slow", check=False)
        assert second.returncode == 1
        assert "container with given ID already exists" in second.stderr
        go_on()
        assert creator.wait(20) == 0
    assert status(oci, "slow") == "created"


def test_a_forced_deletion_waits_for_the_creation(oci: Oci, bundle: Bundle) -> None:
    command = [*oci.command, "delete", "--force", "slow"]
    with creation(oci, bundle, "slow") as (creator, go_on), subprocess.Popen(command) as deleter:
        eventually(lambda: waits_for_a_lock(deleter.pid))
        go_on()
        assert creator.wait(20) == 0
        assert deleter.wait(20) == 0
    assert oci.containers() == []
    assert not (oci.root / "slow").exists()


def waits_for_a_lock(pid: int) -> bool:
    return any(line.split()[1:6:4] == ["->", str(pid)] for line in Path("/proc/locks").read_text().splitlines())


@pytest.mark.parametrize("next_call", ["delete", "delete --force", "create"])
def test_a_creator_that_is_killed_leaves_the_id_to_the_next(oci: Oci, bundle: Bundle, next_call: str) -> None:
    with creation(oci, bundle, "killed") as (creator, _):
        creator.kill()
        creator.wait()
        assert oci("state", "killed", check=False).returncode == 1
        if next_call == "create":
            bundle.config["hooks"] = {}
            oci.save(bundle, "sleep 60")
            oci(
                "create",
                "--bundle",
                bundle.path,
                "killed",
                stdout=subprocess.DEVNULL,
                stderr=None,
                capture_output=False,
            )
            assert status(oci, "killed") == "created"
        else:
            done = oci(*next_call.split(), "killed", check=False)
            assert done.returncode == (
                1 if next_call == "delete" else 0
            )  # as with runc, which has removed it all the same
            assert not (oci.root / "killed").exists()
    assert (bundle.path / "gate.stopped").exists()


@pytest.mark.parametrize("files", [[], ["lock"], ["lock", "state.json.new"]])
def test_whatever_a_killed_creator_has_left_the_id_can_be_used(oci: Oci, bundle: Bundle, files: list[str]) -> None:
    directory = oci.root / "early"
    directory.mkdir(parents=True)
    for name in files:
        (directory / name).touch()
    oci.run(bundle, "true", name="early")
    assert not directory.exists()


def test_a_wrong_root_costs_nobody_their_files(oci: Oci, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("lock", "data"):
        (other / name).touch()
    done = subprocess.run(
        [*oci.command[:-2], "--root", str(tmp_path), "delete", "--force", "other"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "is not a container's state" in done.stderr
    assert sorted(path.name for path in other.iterdir()) == ["data", "lock"]


# -- in the foreground ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -9 $$", 137), ("true", 0)])
def test_run_ends_as_the_command_ends(oci: Oci, bundle: Bundle, script: str, code: int) -> None:
    # The first process of a PID namespace does not get a signal from itself: a child stands in for it.
    command = f"sh -c '{script}'; exit $?" if "kill" in script else script
    assert oci.run(bundle, command, check=False).returncode == code
    assert oci.containers() == []


def test_run_passes_signals_on(oci: Oci, bundle: Bundle) -> None:
    oci.save(bundle, "trap 'echo got it; exit 5' TERM; touch /ready; while :; do sleep 0.05; done")
    command = [str(oci.executable), "--root", str(oci.root), "run", "--bundle", str(bundle.path), "signalled"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as runner:
        eventually((bundle.rootfs / "ready").exists)
        runner.send_signal(signal.SIGTERM)
        assert runner.communicate(timeout=20)[0] == "got it\n"
        assert runner.returncode == 5


def test_run_keep_and_detach(oci: Oci, bundle: Bundle) -> None:
    oci.save(bundle, "true")
    oci("run", "--keep", "--bundle", bundle.path, "kept")
    assert status(oci, "kept") == "stopped"
    oci.save(bundle, "sleep 60")
    pid_file = bundle.path / "pid"
    streams: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": None, "capture_output": False}
    oci("run", "--detach", "--pid-file", pid_file, "--bundle", bundle.path, "detached", **streams)
    assert status(oci, "detached") == "running"
    assert int(pid_file.read_text()) == oci.pid("detached")


@pytest.mark.skipif("freezer" not in v1_hierarchies(), reason="no hierarchy of v1 has the freezer")
def test_one_that_somebody_froze_by_v1_can_be_deleted(oci: Oci, bundle: Bundle) -> None:
    oci.launch(bundle.command("sleep 60"), "frozen")
    pid = oci.pid("frozen")
    directory = v1_hierarchies()["freezer"] / oci.new_id()
    directory.mkdir()
    try:
        (directory / "tasks").write_text(str(pid))
        (directory / "freezer.state").write_text("FROZEN")
        oci("delete", "--force", "frozen")
        os.waitpid(pid, 0)
    finally:
        (directory / "freezer.state").write_text("THAWED")
        directory.rmdir()


def test_another_name_for_config_json(oci: Oci, bundle: Bundle) -> None:
    oci.save(bundle, "echo other")
    (bundle.path / "config.json").rename(bundle.path / "other.json")
    assert oci("run", "--config", "other.json", "--bundle", bundle.path, "other").stdout == "other\n"
    assert oci("run", "--config", bundle.path / "other.json", "--bundle", bundle.path, "other").stdout == "other\n"


def test_missing_bundles_and_configs(oci: Oci, bundle: Bundle) -> None:
    done = oci("run", "--bundle", bundle.path / "nowhere", "x", check=False)
    assert done.returncode == 1
    assert "nowhere" in done.stderr
    (bundle.path / "config.json").write_text("{nonsense")
    done = oci("run", "--bundle", bundle.path, "x", check=False)
    assert "not JSON" in done.stderr
    assert oci.containers() == []
