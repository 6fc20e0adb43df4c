"""Hooks: programs that the bundle names, run at fixed moments of a container's life.

    prestart          runtime namespace, after the namespaces are made       (deprecated, before pivot_root)
    createRuntime     runtime namespace, after the namespaces are made
    createContainer   container's mount namespace, before pivot_root
    startContainer    inside the container, just before the command
    poststart         runtime namespace, after the command was started
    poststop          runtime namespace, after the container was deleted

Each gets the container's state as JSON on standard input. Before the start a hook that fails fails the container;
after it, a failure is told and the rest goes on. Source: runtime-spec config.md, "POSIX-platform Hooks"; runtime.md,
"Lifecycle".
"""

from __future__ import annotations

import json
import sys

from minirun.errors import MinirunError
from minirun.kernel.process import run_program
from minirun.kernel.trace import step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minirun.model.spec import Hook


def run(hooks: dict[str, tuple[Hook, ...]], moment: str, state: dict[str, Any], *, must_succeed: bool = True) -> None:
    """Run the hooks of one moment in their order. Raises MinirunError at the first that fails, if it must succeed."""
    for number, hook in enumerate(hooks.get(moment, ())):
        name = f"hooks.{moment}[{number}] ({hook.path})"
        with step(f"run {name}", "hooks"):
            code, output = run_program(
                hook.path, hook.args or (hook.path,), hook.env, json.dumps(state).encode(), hook.timeout or None
            )
        if code == 0:
            continue
        how = f"did not end within {hook.timeout} seconds" if code is None else f"ended with {code}"
        message = f"{name} {how}" + (f": {output.strip()[-500:]}" if output.strip() else "")
        if must_succeed:
            raise MinirunError(message)
        print(f"minirun: warning: {message}", file=sys.stderr)
