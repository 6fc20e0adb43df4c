"""`ps`: which containers there are."""

from __future__ import annotations

from minirun.cli.grammar import Verb, many, number, switch, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call


def ps(call: Call) -> None:
    """List containers."""
    from minirun.cli.output import ps as ps_output
    from minirun.cli.output.rows import rows_text

    layout = call.swept_layout()
    wanted = ps_output.Filters.parse(layout, call.many("filter"))
    limit = 1 if call.switch("latest") else call.number("last") or -1
    every = call.switch("all") or limit > 0 or wanted.asks_for_state
    rows = []
    for record, now in ps_output.containers(layout):
        if (every or now.is_running) and wanted.match(record, now):
            truncate = not call.switch("no-trunc")
            rows.append(ps_output.row(layout, record, now, truncate=truncate, size=call.switch("size")))
    rows = rows[:limit] if limit > 0 else rows
    quiet = call.switch("quiet")
    default = ps_output.TABLE_WITH_SIZE if call.switch("size") else ps_output.TABLE
    template = call.text("format") or ("{{.ID}}" if quiet else default)
    text = rows_text(template, rows, ps_output.HEADERS)
    if text or not quiet:
        print(text, end="\n" if text else "")


VERBS = {
    "ps": Verb(
        ps,
        (
            switch("-a/--all", "Show those that do not run, too."),
            switch("-q/--quiet", "Show ids only."),
            number("-n/--last", "Show the last N made."),
            switch("-l/--latest", "Show the last one made."),
            switch("--no-trunc", "Do not cut ids and commands."),
            switch("-s/--size", "Show the size of what they have written."),
            text("--format", "A Go template, 'table TEMPLATE', or json."),
            many("-f/--filter", "Only those: name, status, label, ancestor, ..."),
        ),
        examples=(
            ("minirun ps -a --filter status=exited", "the containers that have ended"),
            ("minirun ps --format '{{.Names}}: {{.Status}}'", "a line of your own for each"),
        ),
    )
}
