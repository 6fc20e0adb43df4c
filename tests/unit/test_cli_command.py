"""The command line: pflag's syntax, lazy commands, errors as sentences, exit codes."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_architecture import loaded

from minirun.cli.call import Call
from minirun.cli.grammar import FlagError, Verb, many, parse, switch, text
from minirun.cli.main import main
from minirun.cli.verbs.table import MINIRUN, SECTIONS, Group
from minirun.errors import MinirunError

FLAGS = (switch("--switch/-s"), switch("-x/--proxy"), text("--memory/-m"), many("--publish/-p"))


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (["--switch"], "switch", True),
        (["--switch=true"], "switch", True),
        (["--switch=false"], "switch", False),
        (["--switch", "--switch=0"], "switch", False),
        (["--switch=0", "--switch"], "switch", True),
        (["-s=t"], "switch", True),
        (["-xs"], "switch", True),
        (["--proxy=false"], "proxy", False),
        (["-m=512m"], "memory", "512m"),
        (["-m512m"], "memory", "512m"),
        (["-m", "-1"], "memory", "-1"),
        (["--memory=-1"], "memory", "-1"),
        (["--memory", "a=b"], "memory", "a=b"),
        (["-m", "1", "-m2"], "memory", "2"),
        (["-sm", "1g"], "memory", "1g"),
        (["-sm=1g"], "memory", "1g"),
        (["-m", "--"], "memory", "--"),
        (["-sp1:1", "-p=2:2"], "publish", ("1:1", "2:2")),
    ],
)
def test_flags_are_read_as_pflag_reads_them(words: list[str], key: str, value: object) -> None:
    parsed = parse(words, FLAGS)
    assert parsed.values[key] == value
    assert parsed.arguments == ()


@pytest.mark.parametrize(
    ("words", "interspersed", "arguments"),
    [
        (["a", "-s", "b"], True, ("a", "b")),
        (["a", "-s", "b"], False, ("a", "-s", "b")),
        (["--", "-s", "--switch=false"], True, ("-s", "--switch=false")),
        (["a", "--", "-s"], True, ("a", "-s")),
        (["a", "--", "-s"], False, ("a", "--", "-s")),
        (["-"], True, ("-",)),
    ],
)
def test_arguments_end_the_flags_or_do_not(words: list[str], interspersed: bool, arguments: tuple[str, ...]) -> None:
    assert parse(words, FLAGS, interspersed=interspersed).arguments == arguments


def test_a_switch_is_true_or_false_only() -> None:
    with pytest.raises(FlagError, match="--switch=maybe: it is a switch: true or false"):
        parse(["--switch=maybe"], FLAGS)


WORDS = st.one_of(
    st.sampled_from([name for flag in FLAGS for name in flag.names]),
    st.builds("{}={}".format, st.sampled_from(["--switch", "-s", "-m", "--publish"]), st.text(max_size=3)),
    st.text(max_size=4),
)


@given(st.lists(WORDS, max_size=8), st.booleans())
def test_any_line_is_read_or_refused(words: list[str], interspersed: bool) -> None:
    try:
        parsed = parse(words, FLAGS, interspersed=interspersed)
    except FlagError:
        return
    assert parsed.values.keys() <= {"switch", "proxy", "memory", "publish"}
    assert all(argument in words for argument in parsed.arguments)


@pytest.mark.parametrize(
    ("arguments", "counts"),
    [
        ("", (0, 0)),
        ("CONTAINER", (1, 1)),
        ("CONTAINER NEW_NAME", (2, 2)),
        ("CONTAINER...", (1, None)),
        ("[CONTAINER...]", (0, None)),
        ("IMAGE [COMMAND [ARG...]]", (1, None)),
        ("CONTAINER COMMAND [ARG...]", (2, None)),
        ("CONTAINER [PS OPTIONS...]", (1, None)),
        ("CONTAINER [PORT[/PROTOCOL]]", (1, 2)),
        ("SOURCE[:TAG] TARGET[:TAG]", (2, 2)),
        ("FILE|- [NAME[:TAG]]", (1, 2)),
    ],
)
def test_how_many_arguments_there_may_be_is_what_help_shows(arguments: str, counts: tuple[int, int | None]) -> None:
    assert Verb(print, (), arguments).argument_counts == counts


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
    """`--pull` is refused before the image, so `-m 1m` was not read as an option after it."""
    code, _, err = run(capsys, "run", "--pull", "sometimes", "image", "-m", "1m", "--nosuch")
    assert code == 125
    assert "invalid pull option: 'sometimes'" in err


def test_help_lists_every_command_once(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--help")
    assert (code, err) == (0, "")
    for name in MINIRUN.verbs:
        assert sum(line.startswith(f"  {name} ") for line in out.splitlines()) == 1, name


@pytest.mark.parametrize("name", MINIRUN.verbs)
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

    monkeypatch.setattr(Call, "swept_layout", broken)
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
    def broken(_: Call) -> None:
        raise MinirunError("cannot do it", "try harder")

    for name, function, code in (("run", "host_layout", 125), ("ps", "swept_layout", 1)):
        monkeypatch.setattr(Call, function, broken)
        args = [name, "image"] if name == "run" else [name]
        assert run(capsys, *args) == (code, "", "minirun: cannot do it.\nhint: try harder\n")


def test_interrupt_is_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: Call) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Call, "swept_layout", interrupted)
    assert run(capsys, "ps") == (130, "", "")


def test_a_reader_that_goes_away_is_no_error() -> None:
    script = f"{sys.executable} -c 'from minirun.cli.entry import main; main()' explain procfs | true"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=False)
    assert done.stderr == b""


def places(group: Group = MINIRUN) -> set[str]:
    """Return the modules that have verbs."""
    return {f"minirun.cli.verbs.{module}" for name in group.verbs if (module := group.place(name)[0])}


@pytest.mark.parametrize("name", ["run", "ps", "exec", "rmi"])
def test_a_verb_imports_no_other_and_never_click(name: str) -> None:
    found = loaded(f"import minirun.cli.main as m; m.MINIRUN.find({name!r})")
    assert "click" not in found
    assert found & places() == {f"minirun.cli.verbs.{MINIRUN.place(name)[0]}"}


@pytest.mark.parametrize("line", ["version", "completion bash", "explain procfs", "__complete -- run --r"])
def test_a_right_line_is_carried_out_without_click(line: str) -> None:
    program = f"import sys; from minirun.cli.main import main; main({line.split()!r}); sys.exit('click' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode == 0


def test_the_main_command_takes_global_options_before_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def note(call: Call) -> None:
        seen.append(call.settings.layout)
        raise MinirunError("seen")

    monkeypatch.setattr(Call, "swept_layout", note)
    monkeypatch.setenv("MINIRUN_STATE", "/from/environment")
    run(capsys, "--root", "/given/root", "ps")
    assert (seen[0].root, seen[0].state) == ("/given/root", "/from/environment")


def test_commands_that_need_root_say_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    message = "minirun: 'minirun ps' needs root.\nhint: Try 'sudo minirun ps ...'.\n"
    assert run(capsys, "ps") == (1, "", message)
    assert run(capsys, "run", "image")[0] == 125
    assert run(capsys, "version")[0] == 0


@pytest.mark.parametrize("group", ["", "container", "image"])
def test_every_name_in_a_table_is_a_verb(group: str) -> None:
    found = MINIRUN.find(group) if group else MINIRUN
    assert isinstance(found, Group)
    assert all(found.find(name) is not None for name in [*found.verbs, *found.aliases])
    assert found.find("nothing") is None


def test_the_sections_are_all_there_is() -> None:
    assert [name for section in SECTIONS.values() for name in section] == list(MINIRUN.verbs)


def test_no_flag_has_a_name_that_another_has() -> None:
    for name in MINIRUN.verbs:
        verb = MINIRUN.find(name)
        assert verb is not None
        names = [each for flag in verb.flags for each in flag.names]
        assert len(names) == len(set(names)), name
