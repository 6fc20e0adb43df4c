"""`exec`: further processes in a container."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.commands import Minirun
    from tests.support.leftovers import Leftovers

    RunInBackground = Callable[..., str]


def state(minirun: Minirun, name: str) -> dict[str, Any]:
    found: dict[str, Any] = minirun.inspect(name)["State"]
    return found


def test_exec(minirun: Minirun, background: RunInBackground) -> None:
    background("box", "-e", "OF=container", "-w", "/tmp", "-u", "user")
    script = 'echo "$OF $HOME $(pwd) $(id -un)"; echo err >&2; exit 9'
    done = minirun("exec", "box", "sh", "-c", script, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (9, "container /home/user /tmp user\n", "err\n")
    options = ["-e", "OF=exec", "-w", "/etc", "-u", "0:44"]
    done = minirun("exec", *options, "box", "sh", "-c", 'echo "$OF $HOME $(pwd) $(id -u) $(id -g)"')
    assert done.stdout == "exec /root /etc 0 44\n"
    assert minirun("exec", "-i", "box", "cat", input="piped\n").stdout == "piped\n"
    assert minirun("exec", "box", "cat", input="piped\n").stdout == ""


def test_exec_errors(minirun: Minirun, background: RunInBackground, busybox_image: str) -> None:
    background("box")
    minirun("create", "--name=idle", busybox_image)
    cases = [
        (["missing", "true"], 1, "No such container"),
        (["idle", "true"], 1, "is not running"),
        (["box", "no-such-command"], 127, "executable file not found"),
        (["box", "/etc/passwd"], 126, "permission denied"),
        (["-u", "nobody-here", "box", "true"], (1, 125, 126), "nobody-here"),
    ]
    for arguments, code, message in cases:
        done = minirun("exec", *arguments, check=False)
        assert done.returncode in (code if isinstance(code, tuple) else (code,)), arguments
        assert message in done.stderr
        assert done.stdout == ""
    assert state(minirun, "box")["Running"]


def test_exec_in_the_background(minirun: Minirun, background: RunInBackground) -> None:
    background("box")
    assert minirun("exec", "-d", "box", "sh", "-c", "sleep 0.1; echo done > /done").stdout == ""
    eventually(lambda: minirun("exec", "box", "cat", "/done", check=False).stdout == "done\n")


def test_exec_shares_the_containers_limits_and_namespaces(minirun: Minirun, background: RunInBackground) -> None:
    background("box", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
    script = "for n in pid mnt net ipc uts cgroup; do readlink /proc/$P/ns/$n; done; cat /proc/$P/cgroup"
    script += "; grep -E 'CapEff|CapBnd|Seccomp:|NoNewPrivs' /proc/$P/status"
    first, executed = (
        minirun("exec", "-e", f"P={process}", "box", "sh", "-c", script).stdout for process in ("1", "self")
    )
    assert first == executed
    assert "CapBnd:\t0000000000000000" in executed
    privileged = minirun("exec", "--privileged", "box", "grep", "CapEff", "/proc/self/status").stdout
    assert int(privileged.split()[1], 16) & 1 << 21, "CAP_SYS_ADMIN"


def test_exec_ends_with_its_container(minirun: Minirun, background: RunInBackground, leftovers: Leftovers) -> None:
    background("box")
    executed = minirun.start("exec", "box", "sh", "-c", "echo up; sleep 1000")
    assert executed.stdout is not None
    assert executed.stdout.readline() == b"up\n"
    minirun("rm", "-f", "box")
    executed.communicate(timeout=10)
    assert executed.returncode == 137
    leftovers.check()
