"""What starting a container may cost: every module on the way is paid for by each `docker run` and `minirun run`."""

from __future__ import annotations

from test_architecture import RUN_PATH, loaded

# Each brings others along: together they take as long as a C runtime takes for a whole container.
COSTLY = {
    "array", "collections", "contextlib", "dataclasses", "enum", "functools", "json", "pathlib", "re", "selectors",
    "signal", "socket", "subprocess", "typing",
}  # fmt: skip
ON_THE_WAY = (
    "minirun.cli.oci.main, minirun.cli.oci.create, minirun.cli.oci.exec, minirun.cli.oci.start, "
    "minirun.runtime.lifecycle, minirun.runtime.create.parent, minirun.runtime.process.limits"
)


def test_making_a_container_imports_nothing_costly() -> None:
    assert loaded(f"import {ON_THE_WAY}") & COSTLY == set()


def test_commands_of_a_container_import_nothing_costly() -> None:
    verbs = ", ".join(f"minirun.cli.verbs.container.{name}" for name in ("exec", "ps", "run", "start", "stop"))
    steps = (
        "minirun.engine.container.running, minirun.engine.shim.leftovers, minirun.engine.shim.shim, "
        "minirun.engine.request.options, minirun.network.drivers.bridge, minirun.cli.output.ps, minirun.cli.output.rows"
    )
    assert loaded(f"import {RUN_PATH}, {verbs}, {steps}, {ON_THE_WAY}") & COSTLY == set()
