"""Hooks: programs that the bundle names, run at fixed moments of a container's life.

    prestart          runtime namespace, after the namespaces are made       (deprecated, before pivot_root)
    createRuntime     runtime namespace, after the namespaces are made
    createContainer   container's mount namespace, before pivot_root
    startContainer    inside the container, just before the command
    poststart         runtime namespace, after the command was started
    poststop          runtime namespace, after the container was deleted

Each gets the container's state as JSON on standard input. If a hook fails, the container fails; a failure of poststop
is only reported. Those of startContainer run without Python, from native/exec_stub.c. Source: runtime-spec config.md,
"POSIX-platform Hooks"; runtime.md, "Lifecycle".
"""

from __future__ import annotations

import os

from minirun.errors import MinirunError, warn
from minirun.kernel.process import run_program
from minirun.kernel.trace import step
from minirun.model import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from minirun.model.spec import Hook


# Files that hooks write to, in place of what is told when one fails. Annotations of crun; hooks of startContainer,
# which run inside the container, write to its standard error all the same.
STDOUT_ANNOTATION = "run.oci.hooks.stdout"
STDERR_ANNOTATION = "run.oci.hooks.stderr"


def run(
    hooks: dict[str, tuple[Hook, ...]],
    moment: str,
    state: dict[str, Any],
    *,
    environment: Sequence[str] | None = None,
    must_succeed: bool = True,
) -> None:
    """Run the hooks of one moment in their order. Raises MinirunError at the first that fails, if it must succeed.

    A hook without an environment gets `environment`, or without that the caller's own, as under runc.
    """
    annotations = state.get("annotations", {})
    for number, hook in enumerate(hooks.get(moment, ())):
        name = f"{moment} hook #{number}"
        variables = hook.env or environment or [f"{key}={value}" for key, value in os.environ.items()]
        problem = ""
        try:
            with step(f"run {name} ({hook.path})", "hooks"):
                code, output = run_program(
                    hook.path,
                    hook.args or (hook.path,),
                    variables,
                    state_text(state),
                    hook.timeout or None,
                    stdout=annotations.get(STDOUT_ANNOTATION, ""),
                    stderr=annotations.get(STDERR_ANNOTATION, ""),
                )
            if code is None:
                problem = f"{hook.path} did not end within {hook.timeout} seconds"
            elif code:
                how = f"failed with exit code {code}" if code > 0 else f"was ended by signal {-code}"
                problem = f"{hook.path}: {moment} hook {how}, output: {output.strip()[-500:]}"
        except MinirunError as error:
            problem = error.message
        if problem and must_succeed:
            raise MinirunError(f"error running {name}: {problem}", "", 1)
        if problem:
            warn(f"error running {name}: {problem}")


def state_text(state: dict[str, Any]) -> bytes:
    """Return the state as hooks read it on standard input."""
    return jsontext.dumps(state).encode()
