"""The seccomp listener: who decides about system calls that a filter answers with SCMP_ACT_NOTIFY.

The kernel gives the loading process a descriptor for it. The runtime sends that to the socket `listenerPath` with the
container process state: config-linux.md, "The Container Process State".
"""

from __future__ import annotations

import os

from minirun.kernel.trace import step
from minirun.model import jsontext
from minirun.runtime.create.protocol import send_descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.runtime.create.child import ChildPlan


def hand_over(listener: int, pid: int, plan: ChildPlan) -> None:
    """Send the listener of the process `pid` to the bundle's agent and close it. Raises MinirunError."""
    if plan.seccomp is None:
        return
    state = {
        "ociVersion": plan.state["ociVersion"],
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": plan.seccomp.listener_metadata,
        "state": plan.state | ({} if plan.state["pid"] else {"pid": pid}),
    }
    with step(
        f"send the seccomp listener to {plan.seccomp.listener_path}",
        "seccomp",
        "The agent there decides about the system calls that the filter leaves open.",
        "minirun has failed to connect with seccomp agent: does it listen at linux.seccomp.listenerPath?",
    ):
        try:
            send_descriptor(plan.seccomp.listener_path, jsontext.dumps(state).encode(), listener)
        except OSError:
            if plan.seccomp.asks:  # otherwise the agent has nothing to decide, and may be missing
                raise
        os.close(listener)
