"""What Docker and Podman have in common: commands that have the same effect under both, and a look at a container."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventually import eventually

if TYPE_CHECKING:
    from caller import Caller

WAITING = ("sh", "-c", 'trap "exit 3" TERM; echo started; while :; do sleep 0.1; done')

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

# Where a test must be short: as many options at once as go together.
AT_ONCE = [
    *("--user=1000:1001", "--read-only", "--tmpfs=/t:size=1m", "--hostname=named", "--env=A=1", "--shm-size=2m"),
    *("--device=/dev/zero:/dev/made", "--sysctl=kernel.msgmax=7000", "--ulimit=nofile=100:200", "--cap-drop=ALL"),
    *("--security-opt=no-new-privileges", "--oom-score-adj=77", "--tmpfs=/mine"),
]
AT_ONCE_SCRIPT = """
    id -u; touch /new 2> /dev/null || echo refused; touch /mine/f && stat -f -c %T /t; hostname; echo $A
    head -c 3 /dev/made | wc -c; cat /proc/sys/kernel/msgmax /proc/self/oom_score_adj; ulimit -n
    grep -E "^(CapBnd|NoNewPrivs|Seccomp):" /proc/self/status
"""
AT_ONCE_OUTPUT = [
    *("1000", "refused", "tmpfs", "named", "1", "3", "7000", "77", "100"),
    *("CapBnd:", "0000000000000000", "NoNewPrivs:", "1", "Seccomp:", "2"),
]

# Limits, and the files of cgroup v2 in which they are to be found; `update` changes some.
LIMITS = [
    *("--memory=64m", "--memory-swap=128m", "--memory-reservation=32m", "--cpus=0.5", "--cpu-shares=512"),
    *("--cpuset-cpus=0", "--pids-limit=50"),
]
LIMITED = {
    "memory.max": str(64 << 20),
    "memory.swap.max": str(64 << 20),
    "memory.low": str(32 << 20),
    "cpu.max": "50000 100000",
    "cpu.weight": "20",
    "cpuset.cpus": "0",
    "pids.max": "50",
}
CHANGES = [
    "--memory=100m",
    "--memory-swap=200m",
    "--cpus=0.7",
    "--cpu-shares=300",
    "--cpuset-cpus=1",
    "--pids-limit=33",
]
CHANGED = LIMITED | {
    "memory.max": str(100 << 20),
    "memory.swap.max": str(100 << 20),
    "cpu.max": "70000 100000",
    "cpu.weight": "12",
    "cpuset.cpus": "1",
    "pids.max": "33",
}
READ_LIMITS = f"cd /sys/fs/cgroup; for file in {' '.join(LIMITED)}; do echo $file $(cat $file); done"
EXHAUST_MEMORY = ("--memory=20m", "--memory-swap=20m", "busybox", "tail", "/dev/zero")


def limits_in(output: str) -> dict[str, str]:
    """Return what READ_LIMITS has written."""
    return dict(line.split(" ", 1) for line in output.splitlines())


def state(engine: Caller, name: str, what: str = "{{.State.Status}} {{.State.ExitCode}}") -> str:
    """Return what `inspect` says of a container."""
    return engine("inspect", "--format", what, name).stdout.strip()


def start_waiting(engine: Caller, *options: str) -> str:
    """Start a container that waits for SIGTERM, and then ends with 3; return its id."""
    name = engine("run", "--detach", *options, "busybox", *WAITING).stdout.strip()
    eventually(lambda: "started" in engine("logs", name).stdout, timeout=60)
    return name


def check_streams(engine: Caller) -> None:
    """Standard input and output pass through, and errors apart from them."""
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
    """`exec` with input, another user and folder, exit codes, and in the background."""
    assert engine("exec", "-i", waiting, "cat", input="hello\n").stdout == "hello\n"
    assert engine("exec", "-u", "1000", "-w", "/tmp", waiting, "sh", "-c", "id -u; pwd").stdout == "1000\n/tmp\n"
    engine("exec", waiting, "sh", "-c", "exit 9", code=9)
    engine("exec", waiting, "/etc", code=126)
    engine("exec", "--detach", waiting, "touch", "/made")
    eventually(lambda: engine("exec", waiting, "sh", "-c", "ls / | grep -c '^made$' || true").stdout == "1\n")


def check_life(engine: Caller, waiting: str) -> None:
    """Pause, stop, start, restart, kill."""
    engine("pause", waiting)
    assert state(engine, waiting, "{{.State.Status}}") == "paused"
    engine("unpause", waiting)
    eventually(lambda: "sleep 0.1" in engine("top", waiting).stdout)  # not so between two of them
    engine("stop", waiting)
    assert state(engine, waiting) == "exited 3"
    engine("start", waiting)
    eventually(lambda: engine("logs", waiting).stdout.count("started") == 2)
    engine("restart", waiting)
    engine("kill", waiting)
    assert engine("wait", waiting).stdout == "137\n"


def check_limits(engine: Caller) -> None:
    """Limits hold, in a container with as many other options as go together."""
    options = ["--rm", *AT_ONCE, *LIMITS]
    seen = engine("run", *options, "busybox", "sh", "-c", f"{AT_ONCE_SCRIPT}\n{READ_LIMITS}").stdout
    lines = seen.splitlines()
    assert limits_in("\n".join(lines[-len(LIMITED) :])) == LIMITED
    assert " ".join(lines[: -len(LIMITED)]).split() == AT_ONCE_OUTPUT


def check_update(engine: Caller) -> None:
    """`update` changes limits of a container that runs, `stats` reads them; it can be paused and stopped."""
    name = start_waiting(engine, *LIMITS)
    engine("update", *CHANGES, name)
    assert limits_in(engine("exec", name, "sh", "-c", READ_LIMITS).stdout) == CHANGED
    memory, pids = engine("stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", name).stdout.rsplit(" ", 1)
    assert "/" in memory
    assert not memory.startswith("0B")
    assert int(pids) >= 1
    engine("pause", name)
    assert state(engine, name, "{{.State.Status}}") == "paused"
    engine("unpause", name)
    engine("stop", name)
    assert state(engine, name) == "exited 3"
    engine("rm", name)


def check_out_of_memory(engine: Caller) -> None:
    """A container that exceeds its memory is killed, and the engine is told why."""
    name = engine("run", "--detach", *EXHAUST_MEMORY).stdout.strip()
    assert engine("wait", name).stdout == "137\n"
    eventually(lambda: state(engine, name, "{{.State.OOMKilled}} {{.State.ExitCode}}") == "true 137")
    engine("rm", name)
