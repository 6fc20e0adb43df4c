"""Which tests run where: on this machine, or in the lab VM.

Tests marked `needs_cgroup2` need a machine whose cgroup v2 has the memory, cpu, cpuset and pids controllers. If this
machine lacks them, these tests are left out here, and `scripts/test` runs them in the lab VM (see
`pytest_runtestloop`). Those marked `engine` run in both: engines act differently on cgroup v2.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.oci_bundles import host_has_cgroup2

if TYPE_CHECKING:
    from collections.abc import Generator

CHECKOUT = Path(__file__).resolve().parents[2]
REPORTS_VARIABLE = "MINIRUN_TEST_REPORTS"


def pytest_addoption(parser: pytest.Parser) -> None:
    about = "a file with tests that need cgroup v2: run it in the lab VM, beside the others (may be repeated)"
    parser.addoption("--lab-vm", action="append", default=[], metavar="FILE", help=about)
    about = "a file with tests marked `engine`: run these in the lab VM, after the others (may be repeated)"
    parser.addoption("--lab-vm-engine", action="append", default=[], metavar="FILE", help=about)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what this machine cannot run (--collect-only shows it); `scripts/test` has the lab VM run it."""
    for item in items:
        if item.path.is_relative_to(CHECKOUT / "tests" / "lab"):
            item.add_marker(pytest.mark.needs_cgroup2)
    if host_has_cgroup2() or config.option.collectonly:
        return
    elsewhere = [item for item in items if item.get_closest_marker("needs_cgroup2")]
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = [item for item in items if item not in elsewhere]


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """With --lab-vm: run the tests of this machine and those of the lab VM at the same time; then the VM's engines.

    Engines come last because their tests have time limits, and this machine is busy until then.
    """
    config = session.config
    if hasattr(config, "workerinput") or host_has_cgroup2():
        return (yield)
    with contextlib.ExitStack() as machines:
        files = config.getoption("lab_vm")
        beside = machines.enter_context(LabVm(config, files, "needs_cgroup2", "-n0")) if files else None
        result = yield
        if beside:
            beside.finish()
        if files := config.getoption("lab_vm_engine"):
            machines.enter_context(LabVm(config, files, "engine", "-n2", "--dist=loadfile")).finish()
    return result


class LabVm:
    """The lab VM, running tests of this session.

    It is to this session what a worker is to pytest-xdist: its reports are counted, shown and fail the run as if the
    tests had run here.
    """

    def __init__(self, config: pytest.Config, files: list[str], marker: str, *options: str) -> None:
        arguments = [str(a) for a in config.invocation_params.args if not str(a).startswith("--lab-vm")]
        arguments += [*options, "-m", marker]
        if config.args_source is not pytest.Config.ArgsSource.ARGS:
            arguments += files  # collecting all the other files takes a while under emulation
        # Not the checkout's package, which has no compiled parts, but the installed one.
        inside = f'{REPORTS_VARIABLE}=3 PYTHONSAFEPATH=1 exec {sys.executable} -m pytest "$@" 3>&1 1>&2'
        lab_vm = ["setpriv", "--pdeathsig", "TERM", str(CHECKOUT / "scripts/labvm"), "run", "--timeout", "1800"]
        self.config = config
        self.command = [*lab_vm, "sh", "-c", inside, "pytest", *arguments]

    def __enter__(self) -> LabVm:
        self.reports, self.log = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
        streams = {"stdin": subprocess.DEVNULL, "stdout": self.reports, "stderr": self.log}
        self.machine = subprocess.Popen(self.command, **streams)  # type: ignore[call-overload]
        return self

    def finish(self) -> None:
        """Wait until the VM has run its tests, and add its reports to this session's."""
        code = self.machine.wait()
        self.reports.seek(0)
        self.log.seek(0)
        lines = self.reports.readlines()
        hook = self.config.hook
        for line in lines:
            report = hook.pytest_report_from_serializable(config=self.config, data=json.loads(line))
            report.nodeid += " (lab VM)"
            hook.pytest_runtest_logreport(report=report)
        if not lines or code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            hook.pytest_runtest_logreport(report=lab_failure(code, self.log.read()))

    def __exit__(self, *_: object) -> None:
        self.machine.terminate()
        self.machine.wait()
        self.reports.close()
        self.log.close()


def lab_failure(code: int, log: str) -> pytest.TestReport:
    """Return the report of a lab VM that did not run its tests to the end: that is a failure, never a skip."""
    return pytest.TestReport(
        nodeid="scripts/labvm",
        location=("scripts/labvm", 0, "the lab VM"),
        keywords={},
        outcome="failed",
        longrepr=f"the lab VM did not run the tests that need cgroup v2 (exit status {code}):\n{log}",
        when="call",
    )


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """In the lab VM: hand each report to the machine outside, one JSON object per line."""
    descriptor = os.environ.get(REPORTS_VARIABLE)
    if descriptor and not hasattr(lab_config, "workerinput"):
        data = lab_config.hook.pytest_report_to_serializable(config=lab_config, report=report)
        data.pop("node", None)  # pytest-xdist's worker, where one ran the test
        os.write(int(descriptor), json.dumps(data).encode() + b"\n")


def pytest_configure(config: pytest.Config) -> None:
    global lab_config
    # Tests that are started in the background or by nohup(1) have signals ignored, as would everything that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    lab_config = config


lab_config: pytest.Config
