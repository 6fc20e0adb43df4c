"""Tables, sizes, durations and Go templates, against what Docker prints."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.cli.output.rows import rows_text
from minirun.cli.output.template import Template, render
from minirun.cli.output.template_functions import Map, text_of
from minirun.cli.output.words import binary_size, decimal_size, duration, table
from minirun.errors import MinirunError

DOCUMENT = {
    "ID": "abc",
    "State": {"Running": True, "Pid": 5, "Health": None},
    "Names": ["a", "b"],
    "Empty": [],
    "Labels": Map({"x": "y", "com.example.a": "z"}),
    "Networks": Map({"bridge": {"IPAddress": "10.0.0.2"}, "other": {"IPAddress": "10.0.1.2"}}),
    "Label": lambda name: f"label {name}",
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain", "plain"),
        ("{{.ID}}", "abc"),
        ("<{{ .State.Pid }}>", "<5>"),
        ("{{.State.Running}}", "true"),
        ("{{.State.Health}}", "<nil>"),
        ("{{json .State}}", '{"Running":true,"Pid":5,"Health":null}'),
        ("{{json .Names}}", '["a","b"]'),
        ("{{.Names}}", "[a b]"),
        ("{{.Labels}}", "map[com.example.a:z x:y]"),
        ("{{.Labels.x}} {{.Labels.missing}}", "y <no value>"),
        ('{{index .Labels "com.example.a"}}', "z"),
        ('{{index .Labels "missing"}}', ""),
        ("{{index .Names 1}}", "b"),
        ('{{(index .Networks "bridge").IPAddress}}', "10.0.0.2"),
        ("{{range .Names}}<{{.}}>{{end}}", "<a><b>"),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{range $i, $name := .Names}}{{$i}}={{$name}} {{end}}", "0=a 1=b "),
        ("{{range $key, $value := .Networks}}{{$key}} {{$value.IPAddress}};{{end}}", "bridge 10.0.0.2;other 10.0.1.2;"),
        ("{{range .Names}}{{$.ID}}{{end}}", "abcabc"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if .Empty}}a{{else if .Names}}b{{else}}c{{end}}", "b"),
        ("{{if not .State.Health}}none{{end}}", "none"),
        ('{{if eq .ID "xyz" "abc"}}yes{{end}}', "yes"),
        ("{{if and .ID (gt .State.Pid 4)}}yes{{end}}", "yes"),
        ("{{with .State}}{{.Pid}}{{end}}", "5"),
        ("{{with .State.Health}}a{{else}}b{{end}}", "b"),
        ("{{$x := .ID}}{{$x}}{{$x | upper}}", "abcABC"),
        ('{{join .Names ", "}}', "a, b"),
        ('{{.Names | len | printf "%03d"}}', "002"),
        ('{{printf "%-5s|%.2s|%v|%q|%%" .ID .ID .State.Pid .ID}}', 'abc  |ab|5|"abc"|%'),
        ('{{println "a" 1}}', "a 1\n"),
        ('{{slice .ID 1}} {{title .ID}} {{split "a-b" "-"}}', "bc Abc [a b]"),
        ('{{.Label "x.y"}}', "label x.y"),
        ("a  {{- .ID -}}  b", "aabcb"),
        ("{{/* a comment */}}x", "x"),
        ("{{.ID}}\\t{{.ID}}\\n", "abc\tabc\n"),
        ("{{`raw`}}", "raw"),
    ],
)
def test_templates(template: str, text: str) -> None:
    assert render(template, DOCUMENT) == text


@pytest.mark.parametrize(
    "template",
    [
        "{{",
        "{{.ID",
        "{{}}",
        "{{.Nothing}}",
        "{{.ID.Nothing}}",
        "{{if .ID}}",
        "{{range .Names}}x",
        "{{end}}",
        "{{else}}",
        "{{nothing .ID}}",
        "{{.ID 3}}",
        "{{index .Names 9}}",
        "{{range .ID}}{{end}}",
        "{{$x}}",
        '{{"open}}',
        "{{(.ID}}",
        "{{.ID | }}",
        "{{ ~ }}",
    ],
)
def test_wrong_templates_are_an_error_and_not_a_traceback(template: str) -> None:
    with pytest.raises(MinirunError, match="template parsing error") as caught:
        render(template, DOCUMENT)
    assert caught.value.exit_code == 1


@given(st.text())
def test_any_text_is_a_template_or_an_error(text: str) -> None:
    try:
        result = render(text, DOCUMENT)
    except MinirunError:
        return
    if "{{" not in text:
        assert result == text.replace("\\t", "\t").replace("\\n", "\n")


@given(
    st.lists(
        st.sampled_from(
            ["{{", "}}", ".ID", "if ", "end", "range ", "else", "|", "(", ")", '"', "$x", ":=", " ", "json"]
        )
    )
)
def test_any_jumble_of_template_words_is_a_template_or_an_error(words: list[str]) -> None:
    try:
        render("".join(words), DOCUMENT)
    except MinirunError:
        pass


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_json_writes_what_json_reads(value: object) -> None:
    assert json.loads(render("{{json .}}", value)) == value


@given(st.dictionaries(st.from_regex(r"[A-Za-z]\w*", fullmatch=True).filter(str.isascii), st.text(), min_size=1))
def test_a_field_gives_its_text(row: dict[str, str]) -> None:
    for name, value in row.items():
        assert Template(f"{{{{.{name}}}}}").render(row) == value


def test_text_of_a_structure_hides_methods() -> None:
    assert text_of({"a": 1, "b": [True], "method": len}) == "{1 [true]}"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (5399, "About an hour"),
        (5400, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (13 * 86400, "13 days"),
        (14 * 86400, "2 weeks"),
        (59 * 86400, "8 weeks"),
        (60 * 86400, "2 months"),
        (729 * 86400, "24 months"),
        (730 * 86400, "2 years"),
    ],
)
def test_durations_are_dockers(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "decimal", "binary"),
    [
        (0, "0B", "0B"),
        (999, "999B", "999B"),
        (1000, "1kB", "1000B"),
        (1234567, "1.23MB", "1.177MiB"),
        (16 << 30, "17.2GB", "16GiB"),
        (10**18, "1e+03PB", "888.2PiB"),
    ],
)
def test_sizes_are_dockers(size: int, decimal: str, binary: str) -> None:
    assert decimal_size(size) == decimal
    assert binary_size(size) == binary


def test_tables_line_up() -> None:
    assert table(["ID", "NAMES"], [["1", "a"], ["0123456789abc", "b"]]) == (
        "ID              NAMES\n1               a\n0123456789abc   b"
    )


def test_cells_do_not_steer_the_terminal() -> None:
    [_, row] = table(["NAME", "LABELS"], [["\x1b]0;title\x07", "two\nlines\x9b31m"]]).splitlines()
    assert row == "\\x1b]0;title\\x07   two\\nlines\\x9b31m"


def test_rows_as_a_table_lines_or_json() -> None:
    rows: list[dict[str, object]] = [{"ID": "1", "Names": "a"}, {"ID": "2", "Names": "b"}]
    headers: dict[str, object] = {"ID": "CONTAINER ID", "Names": "NAMES"}
    assert rows_text("{{.ID}}-{{.Names}}", rows, headers) == "1-a\n2-b"
    assert rows_text("table {{.Names}}\\t{{.ID}}", rows, headers) == (
        "NAMES     CONTAINER ID\na         1\nb         2"
    )
    assert [json.loads(line) for line in rows_text("json", rows, headers).splitlines()] == rows
    assert rows_text("{{.ID}}", [], headers) == ""
