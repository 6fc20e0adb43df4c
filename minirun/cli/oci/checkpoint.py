"""The verbs checkpoint and restore of runc, which minirun refuses: it cannot freeze a container to disk."""

from __future__ import annotations

from minirun.cli.grammar import Verb, switch, text
from minirun.cli.oci.create import CREATE_FLAGS
from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.oci.call import Call

# Parsed so that the error is that there is no such verb, rather than that a flag is wrong.
_CHECKPOINT = (
    *CREATE_FLAGS,
    *(
        text(f"--{name}", "Accepted and ignored: there is no checkpoint.")
        for name in (
            "image-path work-path parent-path page-server status-fd manage-cgroups-mode empty-ns lsm-profile "
            "lsm-mount-context"
        ).split()
    ),
    *(
        switch(f"--{name}", "Accepted and ignored: there is no checkpoint.")
        for name in (
            "leave-running tcp-established ext-unix-sk shell-job lazy-pages file-locks pre-dump auto-dedup "
            "tcp-skip-in-flight link-remap"
        ).split()
    ),
    switch("--detach/-d", "Accepted and ignored: there is no checkpoint."),
)


def checkpoint(call: Call) -> None:  # noqa: ARG001
    """Refused: minirun cannot freeze a container to disk."""
    raise MinirunError("checkpoint and restore are not supported", "minirun has no CRIU.")


VERBS = {"checkpoint": Verb(checkpoint, _CHECKPOINT, "ID"), "restore": Verb(checkpoint, _CHECKPOINT, "ID")}
