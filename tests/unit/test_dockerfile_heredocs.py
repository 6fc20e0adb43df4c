"""Heredocs of RUN, COPY and ADD (Dockerfile reference, "Here-Documents")."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.build.dockerfile import instructions as of
from minirun.build.dockerfile.parse import parse


def read(text: str) -> of.Instruction:
    """Return the first instruction after FROM; what comes after it must be there, too."""
    dockerfile = parse(f"FROM a\n{text}\nUSER end\n")
    assert dockerfile.instructions[-1].text == "USER end"
    assert len(dockerfile.instructions) == 3
    return dockerfile.instructions[1]


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("RUN <<EOF\necho a\n\techo b\nEOF", "echo a\n\techo b\n"),
        ("RUN <<-EOF\n\techo a\n\t\techo b\n\tEOF", "echo a\necho b\n"),
        ("RUN <<'E O F'\necho $a\nE O F", "echo $a\n"),
        ("RUN <<EOF\nEOF", ""),
        ("RUN <<EOF\n# no comment\n\na \\\nb\nEOF", "# no comment\n\na \\\nb\n"),
        ("RUN <<EOF\r\na\r\nEOF\r", "a\r\n"),
        ("RUN <<EOF cat\na\nEOF", "<<EOF cat\na\nEOF"),
        ("RUN cat <<-EOF > /x\n\ta\n\tEOF", "cat <<-EOF > /x\n\ta\nEOF"),
        ("RUN cat <<A <<B\n1\nA\n2\nB", "cat <<A <<B\n1\nA\n2\nB"),
        ("RUN cat <<<x", "cat <<<x"),
        ("RUN echo $((1<<2))", "echo $((1<<2))"),
        ('RUN echo "a <<b"', 'echo "a <<b"'),
        ("RUN echo 'it is <<open", "echo 'it is <<open"),
        ("RUN x 3<<EOF\na\nEOF", "x 3<<EOF\na\nEOF"),
        ("RUN x << EOF", "x << EOF"),
        ("RUN <<EOF \\\n  cat\na\nEOF", "<<EOF   cat\na\nEOF"),
        ("RUN --network=none <<EOF\na\nEOF", "a\n"),
    ],
)
def test_what_the_shell_is_given(text: str, script: str) -> None:
    run = read(text)
    assert isinstance(run, of.Run)
    assert run.script == script


def test_the_exec_form_has_no_heredocs() -> None:
    run = read('RUN ["cat", "<<EOF"]')
    assert isinstance(run, of.Run)
    assert (run.argv, run.heredocs, run.last_line) == (("cat", "<<EOF"), (), 2)


@pytest.mark.parametrize("text", ["CMD cat <<EOF", "ENTRYPOINT cat <<EOF", "LABEL a=<<EOF", "HEALTHCHECK CMD x <<EOF"])
def test_other_instructions_have_none(text: str) -> None:
    assert read(text).last_line == 2


@pytest.mark.parametrize("mark", ["<<EOF", "<<-EOF", '<<"EOF"', "<<'EOF'", '<<E"O"F', "<<-'EOF'"])
def test_a_quoted_name_is_not_expanded(mark: str) -> None:
    copy = read(f"COPY {mark} /x\n\t$a\nEOF")
    assert isinstance(copy, of.Copy)
    (heredoc,) = copy.heredocs
    quoted = '"' in mark or "'" in mark
    assert (heredoc.name, heredoc.expand) == ("EOF", not quoted)
    assert (heredoc.content, heredoc.raw) == ("$a\n" if "-" in mark else "\t$a\n", "\t$a\n")


@pytest.mark.parametrize("word", ["COPY", "ADD"])
def test_files_written_in_the_dockerfile(word: str) -> None:
    copy = read(f"{word} --chmod=755 <<a.sh b <<-'c' /dest/\n1\na.sh\n\t2\n\tc")
    assert isinstance(copy, of.Copy | of.Add)
    assert (copy.sources, copy.dest, copy.chmod) == (("b",), "/dest/", "755")
    assert [(each.name, each.content) for each in copy.heredocs] == [("a.sh", "1\n"), ("c", "2\n")]


def test_a_lone_heredoc_may_be_a_program_of_its_own() -> None:
    program = read("RUN <<EOF\n#!/usr/bin/python3\nprint(1)\nEOF")
    argument = read("RUN python3 <<EOF\nprint(1)\nEOF")
    assert isinstance(program, of.Run)
    assert isinstance(argument, of.Run)
    assert (program.is_lone_heredoc, argument.is_lone_heredoc) == (True, False)


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\0")))
def test_any_text_comes_through(content: str) -> None:
    name = "END" + "x" * len(content)
    lines = content if content.endswith("\n") or not content else f"{content}\n"
    copy = read(f"COPY <<{name} /x\n{lines}{name}")
    assert isinstance(copy, of.Copy)
    assert copy.heredocs[0].content == lines
