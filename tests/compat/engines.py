"""What Docker and Podman have in common: commands that have the same effect under both, and a look at a container."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.eventually import eventually

if TYPE_CHECKING:
    from caller import Caller

# Limits that every machine can give: Podman's own defaults may be higher than what this test is allowed.
PODMAN_CONFIGURATION = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
log_driver = "k8s-file"
netns = "none"
[engine]
events_logger = "file"
"""

WAITING = ("sh", "-c", 'trap "exit 3" TERM; echo started; sleep 1000 & wait')

EXIT_CODES = [(("sh", "-c", "exit 7"), 7), (("no-such",), 127), (("/no/such",), 127), (("/etc",), 126), (("true",), 0)]

# Options of `run`, a script, and what it writes.
OPTIONS: list[tuple[list[str], str, str]] = [
    (["--user", "1000:1001"], "id -u; id -g", "1000\n1001\n"),
    (["--read-only"], "touch /new 2> /dev/null || echo refused", "refused\n"),
    (["--tmpfs", "/t:size=1m"], "stat -f -c %T /t", "tmpfs\n"),
    (["--volume", "data:/data"], "echo kept > /data/f; cat /data/f", "kept\n"),
    (["--network", "none"], "ls /sys/class/net", "lo\n"),
    (["--hostname", "named"], "hostname", "named\n"),
    (["--env", "A=1"], "echo $A", "1\n"),
    (["--device", "/dev/zero:/dev/made"], "head -c 3 /dev/made | wc -c", "3\n"),
    (["--shm-size", "2m"], "df -k /dev/shm | awk 'NR == 2 { print $2 }'", "2048\n"),
    (["--sysctl", "kernel.msgmax=7000"], "cat /proc/sys/kernel/msgmax", "7000\n"),
    (["--cap-drop", "ALL", "--cap-add", "CHOWN"], "grep CapEff /proc/self/status", "CapEff:\t0000000000000001\n"),
    (["--security-opt", "seccomp=unconfined"], "grep Seccomp: /proc/self/status", "Seccomp:\t0\n"),
    (["--security-opt", "no-new-privileges"], "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1\n"),
    (["--ulimit", "nofile=100:200", "--ulimit", "nproc=1000:1000"], "ulimit -n", "100\n"),
    ([], "grep Seccomp: /proc/self/status", "Seccomp:\t2\n"),
]


def state(engine: Caller, name: str, what: str = "{{.State.Status}} {{.State.ExitCode}}") -> str:
    """Return what `inspect` says about a container."""
    return engine("inspect", "--format", what, name).stdout.strip()


def start_waiting(engine: Caller, *options: str) -> str:
    """Start a container that waits for SIGTERM, and then ends with 3; return its id."""
    name = engine("run", "--detach", *options, "busybox", *WAITING).stdout.strip()
    eventually(lambda: "started" in engine("logs", name).stdout, timeout=60)
    return name


def check_streams(engine: Caller) -> None:
    """Standard input and output pass through, and standard error apart from them."""
    done = engine("run", "--rm", "-i", "busybox", "sh", "-c", "cat; echo error >&2", input="hello\n")
    assert (done.stdout, done.stderr) == ("hello\n", "error\n")


def check_terminals(engine: Caller, waiting: str) -> None:
    """`run -it` and `exec -it` have a terminal."""
    code, shown = engine.on_terminal("run", "--rm", "-it", "busybox", "sh", typed="tty; exit 5\n")
    assert code == 5
    assert "/dev/pts/0" in shown
    code, shown = engine.on_terminal("exec", "-it", waiting, "sh", typed="tty; exit 6\n")
    assert code == 6
    assert "/dev/pts/" in shown


def check_exec(engine: Caller, waiting: str) -> None:
    """`exec` with input, with another user and directory, its exit codes, and `exec` in the background."""
    assert engine("exec", "-i", waiting, "cat", input="hello\n").stdout == "hello\n"
    assert engine("exec", "-u", "1000", "-w", "/tmp", waiting, "sh", "-c", "id -u; pwd").stdout == "1000\n/tmp\n"
    engine("exec", waiting, "sh", "-c", "exit 9", code=9)
    engine("exec", waiting, "/etc", code=126)
    engine("exec", "--detach", waiting, "touch", "/made")
    eventually(
        lambda: engine("exec", waiting, "sh", "-c", "ls / | grep -c '^made$' || true").stdout == "1\n", timeout=60
    )


def check_life(engine: Caller, waiting: str) -> None:
    """Pause, stop, start, restart, kill."""
    engine("pause", waiting)
    assert state(engine, waiting, "{{.State.Status}}") == "paused"
    engine("unpause", waiting)
    assert "sleep 1000" in engine("top", waiting).stdout
    engine("stop", waiting)
    assert state(engine, waiting) == "exited 3"
    engine("start", waiting)
    eventually(lambda: engine("logs", waiting).stdout.count("started") == 2, timeout=60)
    engine("restart", waiting)
    engine("kill", waiting)
    assert engine("wait", waiting).stdout == "137\n"
