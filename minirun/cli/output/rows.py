"""Rows as `ps`, `images` and others list them, by the template of `--format` or a table of their own."""

from __future__ import annotations

from minirun.cli.output.template_functions import text_of
from minirun.cli.output.words import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    Row = dict[str, object]


def rows_text(template: str, rows: Sequence[Row], headers: Row) -> str:
    """Return `rows` as `--format` asks: "table TEMPLATE" with `headers` by field, "json", or a line per row."""
    if template == "json":
        template = "{{json .}}"
    known = headers.keys() & rows[0].keys() if rows else headers.keys()
    if not template.startswith("table "):
        render = _renderer(template, known)
        return "\n".join(render(row) for row in rows)
    render = _renderer(template.removeprefix("table ").strip(), known)
    lines = [render(row).split("\t") for row in (headers, *rows)]
    columns = max(len(line) for line in lines)
    filled = [line + [""] * (columns - len(line)) for line in lines]
    return table(filled[0], filled[1:])


def _renderer(template: str, known: Collection[str]) -> Callable[[Row], str]:
    """Return what makes the text of a row; a template of nothing but known fields needs no compiling."""
    start, *pieces = template.replace("\\t", "\t").replace("\\n", "\n").split("{{")
    fields = [(name[1:], after) for name, end, after in (p.partition("}}") for p in pieces) if end and name[:1] == "."]
    if len(fields) < len(pieces) or not all(name in known for name, _ in fields):
        from minirun.cli.output.template import Template

        return Template(template).render
    return lambda row: start + "".join(f"{text_of(row[name])}{after}" for name, after in fields)
