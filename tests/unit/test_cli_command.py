"""The command line: pflag's syntax, lazy commands, errors as sentences, exit codes."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from minirun.cli import main as cli_main
from minirun.cli.command import Command
from minirun.cli.main import COMMANDS, cli, main
from minirun.errors import MinirunError


@click.command(cls=Command)
@click.option("--switch", "-s", is_flag=True)
@click.option("--proxy", "-x", is_flag=True, default=True)
@click.option("--memory", "-m")
@click.option("--publish", "-p", multiple=True)
@click.argument("words", nargs=-1)
def probe(**values: object) -> None:
    for name, value in sorted(values.items()):
        click.echo(f"{name}={value!r}")


def parsed(*args: str) -> dict[str, str]:
    result = CliRunner().invoke(probe, args, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return dict(line.split("=", 1) for line in result.output.splitlines())


@pytest.mark.parametrize(
    ("args", "name", "value"),
    [
        (["--switch"], "switch", "True"),
        (["--switch=true"], "switch", "True"),
        (["--switch=false"], "switch", "False"),
        (["--switch", "--switch=0"], "switch", "False"),
        (["--switch=0", "--switch"], "switch", "True"),
        (["-s=t"], "switch", "True"),
        ([], "proxy", "True"),
        (["--proxy=false"], "proxy", "False"),
        (["-m=512m"], "memory", "'512m'"),
        (["-m512m"], "memory", "'512m'"),
        (["-m", "-1"], "memory", "'-1'"),
        (["--memory=-1"], "memory", "'-1'"),
        (["--memory", "a=b"], "memory", "'a=b'"),
        (["-sm", "1g"], "memory", "'1g'"),
        (["-sm=1g"], "memory", "'1g'"),
        (["-sp1:1", "-p=2:2"], "publish", "('1:1', '2:2')"),
        (["a", "-s", "b"], "words", "('a', 'b')"),
        (["--", "-s", "--switch=false"], "words", "('-s', '--switch=false')"),
        (["-"], "words", "('-',)"),
    ],
)
def test_flags_are_read_as_pflag_reads_them(args: list[str], name: str, value: str) -> None:
    assert parsed(*args)[name] == value


def test_a_switch_is_true_or_false_only() -> None:
    result = CliRunner().invoke(probe, ["--switch=maybe"])
    assert result.exit_code == 2
    assert "true or false" in result.output


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = main(list(args))
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["run"], 1, "minirun: 'minirun run' requires at least 1 argument."),
        (["create"], 1, "minirun: 'minirun create' requires at least 1 argument."),
        (["exec", "name"], 1, "minirun: 'minirun exec' requires at least 2 arguments."),
        (["rm"], 1, "minirun: 'minirun rm' requires at least 1 argument."),
        (["ps", "more"], 1, "minirun: 'minirun ps' accepts no arguments."),
        (["run", "--no-such-flag", "image"], 125, "minirun: unknown flag: --no-such-flag."),
        (["ps", "--no-such-flag"], 125, "minirun: unknown flag: --no-such-flag."),
        (["run", "-c", "x", "image"], 125, "minirun: invalid value for --cpu-shares: 'x' is not a valid integer."),
        (["run", "--rm=maybe", "image"], 125, "minirun: invalid value for --rm=maybe: it is a switch"),
        (["run", "--name"], 125, "minirun: flag needs an argument: --name.\nhint: See 'minirun run --help'."),
        (["run", "-m", "1m", "image"], 125, "minirun: Minimum memory limit allowed is 6MB."),
        (["create", "-m", "1m", "image"], 125, "minirun: Minimum memory limit allowed is 6MB."),
        (["run", "-d", "-a", "stdout", "image"], 1, "minirun: conflicting options: cannot specify both --attach and"),
        (["run", "-it", "image"], 1, "minirun: the input device is not a TTY."),
        (["pss"], 1, "minirun: unknown command: minirun pss.\nhint: Did you mean 'minirun ps'?"),
        (["explain", "nothing"], 1, "minirun: there is no chapter about 'nothing'."),
        (["stop", "--time", "x", "c"], 125, "minirun: invalid value for"),
    ],
)
def test_errors_are_one_sentence_with_dockers_exit_code(
    capsys: pytest.CaptureFixture[str], args: list[str], code: int, message: str
) -> None:
    got, out, err = run(capsys, *args)
    assert (got, out) == (code, "")
    assert err.startswith(message)
    assert "Traceback" not in err


def test_an_argument_after_the_image_belongs_to_the_container(capsys: pytest.CaptureFixture[str]) -> None:
    """`-m 1m` before the image is refused, so after it it has not been read as an option."""
    code, _, err = run(capsys, "run", "--pull", "always", "image", "-m", "1m", "--nosuch")
    assert code == 125
    assert "--pull always is not supported yet" in err


def test_help_lists_every_command_once(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--help")
    assert (code, err) == (0, "")
    for name in COMMANDS:
        assert sum(line.startswith(f"  {name} ") for line in out.splitlines()) == 1, name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_the_watching_options(capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, out, _ = run(capsys, name, "--help")
    assert code == 0
    assert "--explain" in out
    assert "--debug" in out


def test_unexpected_errors_are_a_sentence_unless_debugging(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(cli_main.Minirun, "get_command", broken)
    code, _, err = run(capsys, "ps")
    assert code == 1
    assert err == (
        "minirun: internal error: ZeroDivisionError: by nothing.\nhint: Run again with --debug for the details.\n"
    )
    code, _, err = run(capsys, "--debug", "ps")
    assert "Traceback" in err


def test_the_exit_code_of_minirun_itself_is_125_for_run_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise MinirunError("cannot do it", "try harder")

    for name, function, code in (("run", "verbs.run.host_layout", 125), ("ps", "verbs.containers.swept_layout", 1)):
        monkeypatch.setattr(f"minirun.cli.{function}", broken)
        args = [name, "image"] if name == "run" else [name]
        assert run(capsys, *args) == (code, "", "minirun: cannot do it.\nhint: try harder\n")


def test_interrupt_is_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("minirun.cli.verbs.containers.swept_layout", interrupted)
    assert run(capsys, "ps") == (130, "", "")


def test_a_reader_that_goes_away_is_no_error() -> None:
    script = f"{sys.executable} -c 'from minirun.cli.entry import main; main()' explain procfs | true"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=False)
    assert done.stderr == b""


def test_run_imports_no_other_command() -> None:
    program = (
        "import sys; from minirun.cli.main import cli; cli.get_command(None, 'run');"
        "print(*(name for name in sys.modules if name.startswith('minirun.') or name in"
        " ('pyroute2', 'subprocess', 'asyncio', 'dataclasses', 'pathlib', 'tempfile', 'logging', 'tarfile')))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "minirun.cli.verbs.run" in loaded
    assert [name for name in loaded if not name.startswith("minirun.")] == []
    others = {f"minirun.cli.{place.split(':')[0]}" for place in COMMANDS.values()} - {"minirun.cli.verbs.run"}
    assert others.isdisjoint(loaded)


def test_the_main_command_takes_global_options_before_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def note() -> None:
        seen.append(click.get_current_context().find_root().obj.layout)
        raise MinirunError("seen")

    monkeypatch.setattr("minirun.cli.verbs.containers.swept_layout", note)
    monkeypatch.setenv("MINIRUN_STATE", "/from/environment")
    run(capsys, "--root", "/given/root", "ps")
    assert (seen[0].root, seen[0].state) == ("/given/root", "/from/environment")


def test_commands_that_need_root_say_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    message = "minirun: 'minirun ps' needs root.\nhint: Try 'sudo minirun ps ...'.\n"
    assert run(capsys, "ps") == (1, "", message)
    assert run(capsys, "run", "image")[0] == 125
    assert run(capsys, "version")[0] == 0


def test_the_group_is_the_table() -> None:
    context = click.Context(cli)
    assert cli.list_commands(context) == list(COMMANDS)
    assert cli.get_command(context, "nothing") is None
