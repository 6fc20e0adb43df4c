"""The verbs `create` and `run` of `minirun-oci`: a bundle becomes a container."""

from __future__ import annotations

from minirun.cli.grammar import Verb, switch, text
from minirun.cli.oci.call import BUNDLE, notify_socket
from minirun.cli.oci.descriptors import CONSOLE, PID_FILE, PIDFD, PRESERVE, check_console, follow, hand_over, inherited

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.oci.call import Call
    from minirun.model.spec import Spec
    from minirun.runtime.lifecycle import CreateOptions

CREATE_FLAGS = (
    BUNDLE,
    CONSOLE,
    PID_FILE,
    PIDFD,
    switch("--no-pivot", "Use chroot instead of pivot_root, for a root on an initramfs."),
    switch("--no-new-keyring", "Keep the caller's session keyring."),
    PRESERVE,
    text("--config/-f", "Another file than config.json."),
    switch("--no-subreaper", "Do not become the reaper of orphans."),
)


def create(call: Call) -> None:
    """Make a container from a bundle; it waits for `start`."""
    from minirun.runtime import lifecycle

    container_id = call.container_id()
    spec = _load_spec(call)
    socket_path = call.text("console-socket")
    terminal = bool(spec.process and spec.process.terminal)
    check_console(terminal, socket_path, detached=True)
    cloned = lifecycle.create(call.root, container_id, call.bundle(), spec, _options(call))
    try:
        hand_over(call, cloned, socket_path)
    except BaseException:
        lifecycle.delete(call.root, container_id, force=True)
        raise


def run(call: Call) -> int:
    """Make and start a container; without --detach wait for its end and remove it."""
    from minirun.kernel.process import open_signals
    from minirun.runtime import lifecycle

    container_id = call.container_id()
    spec = _load_spec(call)
    detach = call.switch("detach")
    socket_path = call.text("console-socket")
    check_console(bool(spec.process and spec.process.terminal), socket_path, detached=detach)
    cloned = lifecycle.create(call.root, container_id, call.bundle(), spec, _options(call))
    try:
        hand_over(call, cloned, socket_path)
        signals = -1 if detach else open_signals()
        ready = lifecycle.start(call.root, container_id, notify_socket())
    except BaseException:
        lifecycle.delete(call.root, container_id, force=True)
        raise
    if detach:
        if ready:
            ready.wait(cloned.pid)
        return 0
    try:
        return follow(cloned, socket_path, signals, ready)
    finally:
        if not call.switch("keep"):
            lifecycle.delete(call.root, container_id, force=True)


def _load_spec(call: Call) -> Spec:
    from minirun.runtime.bundle import load_spec

    spec = load_spec(call.bundle(), call.text("config") or "config.json")
    variables = inherited(call)[1]
    if not variables or spec.process is None:
        return spec
    return spec.replace(process=spec.process.replace(env=(*spec.process.env, *variables)))


def _options(call: Call) -> CreateOptions:
    from minirun.runtime.lifecycle import CreateOptions

    return CreateOptions(
        cache_dir=f"{call.root}/.cache",
        no_pivot=call.switch("no-pivot"),
        new_keyring=not call.switch("no-new-keyring"),
        preserve_fds=inherited(call)[0],
        config=call.text("config") or "config.json",
        systemd_cgroup=call.systemd_cgroup,
        use_cgroups=call.use_cgroups,
        notify_socket=notify_socket(),
        use_cgroup_v1=True,
        copied_terminal=not call.text("console-socket"),
    )


VERBS = {
    "create": Verb(create, CREATE_FLAGS, "ID"),
    "run": Verb(
        run,
        (
            *CREATE_FLAGS,
            switch("--detach/-d", "Return once the container runs."),
            switch("--keep", "Do not remove the container at its end."),
        ),
        "ID",
    ),
}
