"""Completion: what is offered for a word, and that the shells offer it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from minirun.cli.help.completion import _VALUES, candidates
from minirun.cli.main import main
from minirun.cli.verbs.container.run import RUN
from minirun.cli.verbs.table import MINIRUN
from minirun.model.layout import Layout

CALL = f"{sys.executable} -c 'from minirun.cli.entry import main; main()'"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Return a store with the running containers web and worker, the stopped container old, and two images."""
    made = Layout(str(tmp_path / "root"), str(tmp_path / "state"))
    os.makedirs(made.names)
    os.makedirs(made.images)
    for name in ("web", "worker", "old"):
        os.symlink(name[0:2] * 32, f"{made.names}/{name}")
        if name != "old":
            os.makedirs(made.bundle(name[0:2] * 32))
    images = ("docker.io/library/busybox:latest", "docker.io/library/nginx:1.2")
    Path(made.images, "names.json").write_text(json.dumps(dict.fromkeys(images, "sha256:" + "c" * 64)))
    return made


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("st", ["start", "stats", "stop"]),
        ("rm ", ["old", "web", "worker"]),
        ("rm we", ["web"]),
        ("rm -f web ", ["old", "worker"]),
        ("stop w", ["web", "worker"]),
        ("start ", ["old"]),
        ("exec -it w", ["web", "worker"]),
        ("exec web ", []),
        ("logs web ", []),
        ("run --rm b", ["busybox"]),
        ("run busybox:", ["busybox:latest"]),
        ("run --name x ", ["busybox", "nginx:1.2"]),
        ("run busybox b", []),
        ("run -it --network ", ["bridge", "container:", "host", "none"]),
        ("run --network container:w", ["container:web", "container:worker"]),
        ("run --network=b", ["--network=bridge"]),
        ("run --net h", ["host"]),
        ("run --pid=container:we", ["--pid=container:web"]),
        ("run --cap-add SYS_P", ["SYS_PACCT", "SYS_PTRACE"]),
        ("run --cap-drop A", ["ALL", "AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE"]),
        ("run --volumes-from o", ["old"]),
        ("run -e b", []),
        ("run --env-file b", []),
        ("run --stop-signal WIN", ["WINCH"]),
        ("kill -s HU", ["HUP"]),
        ("ps --filter status=", ["status=created", "status=exited", "status=paused", "status=running"]),
        ("run --pid", ["--pid", "--pids-limit"]),
        ("run busybox --pi", []),
        ("image hi", ["history"]),
        ("image rm n", ["nginx:1.2"]),
        ("image inspect ", ["busybox:latest", "nginx:1.2"]),
        ("container inspect w", ["web", "worker"]),
        ("container start ", ["old"]),
        ("inspect ", ["busybox:latest", "nginx:1.2", "old", "web", "worker"]),
        ("tag busybox n", ["nginx:1.2"]),
        ("explain p", ["pivot_root", "ports", "procfs"]),
        ("help st", ["start", "stats", "stop"]),
        ("help image l", ["load", "ls"]),
        ("completion ", ["bash", "fish", "zsh"]),
        ("ps x", []),
    ],
)
def test_candidates(layout: Layout, line: str, expected: list[str]) -> None:
    assert candidates(layout, line.split(" ")) == expected


def test_the_places_named_on_the_line_are_looked_at(layout: Layout) -> None:
    nowhere = Layout("/nonexistent", "/nonexistent")
    assert candidates(nowhere, ["--root", layout.root, f"--state={layout.state}", "stop", "w"]) == ["web", "worker"]


def test_candidates_without_a_store_or_words() -> None:
    nowhere = Layout("/nonexistent", "/nonexistent")
    assert candidates(nowhere, ("rm", "")) == []
    assert candidates(nowhere, ("run", "")) == []
    assert candidates(nowhere, ()) == sorted(MINIRUN.verbs)


def test_values_are_of_flags_that_are_there() -> None:
    flags = {name for flag in RUN.flags for name in flag.names}
    assert _VALUES.keys() - flags == {"--format", "--type"}


def in_shell(layout: Layout, *command: str) -> list[str]:
    environment = {**os.environ, "MINIRUN_ROOT": layout.root, "MINIRUN_STATE": layout.state}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stderr == ""
    return done.stdout.split()


LINES = [
    ("minirun rm w", ["web", "worker"]),
    ("minirun run --cap-add SYS_PA", ["SYS_PACCT"]),
    ("minirun stop ", ["web", "worker"]),
]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        *LINES,
        # What is before a colon or an equals sign is not part of the word that bash replaces.
        ("minirun run --network container:w", ["web", "worker"]),
        ("minirun run --network=b", ["bridge"]),
        ("minirun run --pid=container:we", ["web"]),
        ("minirun run busybox:", ["latest"]),
    ],
)
def test_bash(layout: Layout, line: str, expected: list[str]) -> None:
    script = f"""
        minirun() {{ {CALL} "$@"; }}
        source <(minirun completion bash)
        COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)} COMPREPLY=()
        _minirun
        echo "${{COMPREPLY[@]}}"
    """
    assert in_shell(layout, "bash", "-c", script) == expected


def test_bash_that_does_not_break_words_at_colons(layout: Layout) -> None:
    line = "minirun run --network container:we"
    script = f"""
        minirun() {{ {CALL} "$@"; }}
        source <(minirun completion bash)
        COMP_WORDBREAKS=${{COMP_WORDBREAKS//:}} COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}
        _minirun
        echo "${{COMPREPLY[@]}}"
        complete -p minirun
    """
    first, *rest = in_shell(layout, "bash", "-c", script)
    assert first == "container:web"
    assert rest == "complete -o default -F _minirun minirun".split()


@pytest.mark.parametrize(
    ("line", "expected"), [*LINES, ("minirun run --network container:w", ["container:web", "container:worker"])]
)
def test_zsh(layout: Layout, line: str, expected: list[str]) -> None:
    """The functions of zsh that a completion calls are replaced by ones that print what they were given."""
    script = f"""
        minirun() {{ {CALL} "$@"; }}
        compdef() {{ }}
        compadd() {{ shift $argv[(i)--]; print -l -- $argv }}
        source <(minirun completion zsh)
        words=({line.removesuffix(" ")} {"''" if line.endswith(" ") else ""}) CURRENT=$#words
        _minirun
    """
    assert in_shell(layout, "zsh", "-f", "-c", script) == expected


@pytest.mark.parametrize(
    ("line", "expected"), [*LINES, ("minirun run --network container:w", ["container:web", "container:worker"])]
)
def test_fish(layout: Layout, tmp_path: Path, line: str, expected: list[str]) -> None:
    script = f"""
        function minirun; {CALL} $argv; end
        minirun completion fish | source
        complete -C {shlex.quote(line)}
    """
    environment = ["env", f"HOME={tmp_path}", f"XDG_CONFIG_HOME={tmp_path}"]
    assert in_shell(layout, *environment, "fish", "--no-config", "-c", script) == expected


def test_provisioning_has_installed_it() -> None:
    """It is where shells look for completions of executables in that directory."""
    share = Path(os.environ.get("MINIRUN_BIN", "/usr/local/bin")).parent / "share"
    for file in (
        "bash-completion/completions/minirun",
        "zsh/site-functions/_minirun",
        "fish/vendor_completions.d/minirun.fish",
    ):
        assert "minirun __complete -- " in (share / file).read_text()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_scripts_ask_minirun(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert main(["completion", shell]) == 0
    assert "minirun __complete -- " in capsys.readouterr().out
