"""Dockerfiles are read, and refused, as BuildKit does it: most of the table was compared with `docker build`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.build.dockerfile import instructions as of
from minirun.build.dockerfile.directives import Directives
from minirun.build.dockerfile.error import DockerfileError
from minirun.build.dockerfile.parse import parse, parse_trigger

SECOND = 10**9
ANY_LINE = st.one_of(
    st.text(max_size=30),
    st.builds(
        "{}{} {}".format,
        st.sampled_from(["", " ", "ONBUILD ", "\ufeff"]),
        st.sampled_from([*"ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER RUN".split(), "x"]),
        st.text(st.sampled_from("ab=,-<\"'\\[] $\t\r1EOF/{}"), max_size=30),
    ),
    st.sampled_from(["EOF", "# escape=`", "# syntax=docker/dockerfile:1", "\\", "FROM scratch AS a", "", "RUN <<EOF"]),
)


def fields(instruction: of.Instruction) -> dict[str, object]:
    """Return what an instruction says, without where it stands and without what was not said."""
    place = of.Instruction._fields
    return {
        name: value
        for name, value in instruction.as_dict().items()
        if name not in place and getattr(instruction, name) != getattr(type(instruction), name, None)
    }


@pytest.mark.parametrize(
    ("line", "kind", "said"),
    [
        ("FROM busybox", of.From, {"base": "busybox"}),
        ("from busybox As Web", of.From, {"base": "busybox", "name": "web"}),
        ("FROM --platform=$BUILDPLATFORM a:${v} AS b-1.x_y", of.From,
         {"base": "a:${v}", "platform": "$BUILDPLATFORM", "name": "b-1.x_y"}),
        ("RUN echo  'a  b' && x", of.Run, {"command": "echo  'a  b' && x"}),
        ('RUN ["a", "b c"]', of.Run, {"argv": ["a", "b c"]}),
        ('RUN [ "a" ] ', of.Run, {"argv": ["a"]}),
        ("RUN ['a']", of.Run, {"command": "['a']"}),
        ('RUN ["a"', of.Run, {"command": '["a"'}),
        ('RUN ["a"] b', of.Run, {"command": '["a"] b'}),
        ("RUN [ -f x ] && y", of.Run, {"command": "[ -f x ] && y"}),
        ("RUN", of.Run, {}),
        ("RUN --network=none --mount=target=/a --mount=type=cache,target=/b,from=c x", of.Run,
         {"command": "x", "network": "none", "mounts": [
             {"text": "target=/a", "from_": ""}, {"text": "type=cache,target=/b,from=c", "from_": "c"}]}),
        ('RUN --mount=type=bind,"target=/a b" --mount=\'target=/c d\' x', of.Run,
         {"command": "x", "mounts": [
             {"text": "type=bind,target=/a b", "from_": ""}, {"text": "target=/c d", "from_": ""}]}),
        ("RUN -- --x", of.Run, {"command": "--x"}),
        ("COPY a b", of.Copy, {"sources": ["a"], "dest": "b"}),
        ("COPY a* $b ./c/", of.Copy, {"sources": ["a*", "$b"], "dest": "./c/"}),
        ('COPY ["a b", "c"]', of.Copy, {"sources": ["a b"], "dest": "c"}),
        ("COPY --from=Web --chown=1:2 --chmod=u+x --link --parents --exclude=*.o --exclude=x a /", of.Copy,
         {"sources": ["a"], "dest": "/", "from_": "Web", "chown": "1:2", "chmod": "u+x", "link": True, "parents": True,
          "excludes": ["*.o", "x"]}),
        ("COPY --link=false a /", of.Copy, {"sources": ["a"], "dest": "/"}),
        ("ADD --checksum=sha256:0 --keep-git-dir=true --unpack=FALSE http://a/b /", of.Add,
         {"sources": ["http://a/b"], "dest": "/", "checksum": "sha256:0", "keep_git_dir": True, "unpack": False}),
        ("ARG a", of.Arg, {"variables": [["a", None]]}),
        ('ARG a=1 b="c d" e f=', of.Arg, {"variables": [["a", "1"], ["b", '"c d"'], ["e", None], ["f", ""]]}),
        ("ENV a=1 b='c d' e=f\\ g h=", of.Env,
         {"variables": [["a", "1"], ["b", "'c d'"], ["e", "f\\ g"], ["h", ""]]}),
        ("ENV a  b   \"c\"", of.Env, {"variables": [["a", 'b   "c"']]}),
        ("ENV a b=c", of.Env, {"variables": [["a", "b=c"]]}),
        ("LABEL \"a b\"=c d.e=", of.Label, {"labels": [['"a b"', "c"], ["d.e", ""]]}),
        ("WORKDIR /a b ", of.Workdir, {"path": "/a b"}),
        ("USER a:b", of.User, {"user": "a:b"}),
        ('ENTRYPOINT ["a"]', of.Entrypoint, {"argv": ["a"]}),
        ("ENTRYPOINT a b", of.Entrypoint, {"command": "a b"}),
        ("CMD []", of.Cmd, {"argv": []}),
        ("CMD", of.Cmd, {}),
        ('CMD ["a\\u00e9\\ud800"]', of.Cmd, {"argv": ["a\u00e9\ufffd"]}),
        ("EXPOSE 80 81-82/udp $p", of.Expose, {"ports": ["80", "81-82/udp", "$p"]}),
        ("VOLUME /a /b", of.Volume, {"paths": ["/a", "/b"]}),
        ('VOLUME ["/a b"]', of.Volume, {"paths": ["/a b"]}),
        ("STOPSIGNAL SIGINT", of.StopSignal, {"signal": "SIGINT"}),
        ("HEALTHCHECK none", of.Healthcheck, {"disabled": True}),
        ("HEALTHCHECK --interval=1m30s --timeout=500ms --start-period=0s --start-interval=2s --retries=3 cmd a b",
         of.Healthcheck, {"command": "a b", "interval": 90 * SECOND, "timeout": SECOND // 2,
                          "start_interval": 2 * SECOND, "retries": 3}),
        ('HEALTHCHECK CMD ["a"]', of.Healthcheck, {"argv": ["a"]}),
        ('SHELL ["/bin/bash", "-c"]', of.Shell, {"argv": ["/bin/bash", "-c"]}),
        ("ONBUILD  RUN  a ", of.Onbuild, {"trigger": "RUN  a"}),
        ("MAINTAINER a  <b@c>", of.Maintainer, {"author": "a  <b@c>"}),
        ("\tlabel\ta=b", of.Label, {"labels": [["a", "b"]]}),
    ],
)  # fmt: skip
def test_instructions(line: str, kind: type[of.Instruction], said: dict[str, object]) -> None:
    head = "" if kind is of.From else "FROM scratch\n"
    instruction = parse(f"{head}{line}\n").instructions[-1]
    assert type(instruction) is kind
    assert fields(instruction) == said
    assert (instruction.text, instruction.source) == (line.strip(), f"{line}\n")
    assert instruction.word == line.split()[0].upper()


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 0, "file with no instructions"),
        ("\n# a\n \n", 0, "file with no instructions"),
        ("ARG a\n", 0, "dockerfile contains no stages to build"),
        ("RUN a\nFROM b\n", 1, "no build stage in current context"),
        ("ARG a\nENV a=b\nFROM b\n", 2, "no build stage in current context"),
        ("FROM a\n\nFOO x\n", 3, "unknown instruction: FOO"),
        ("FROM a\n\\\n\n", 2, "unknown instruction: "),
        ("FROM\n", 1, "FROM requires either one or three arguments"),
        ("FROM a b\n", 1, "FROM requires either one or three arguments"),
        ("FROM a is b\n", 1, "FROM requires either one or three arguments"),
        ("FROM a AS 1b\n", 1, 'invalid name for build stage: "1b", name can\'t start with a number or contain symbols'),
        ("FROM a AS b/c\n", 1,
         'invalid name for build stage: "b/c", name can\'t start with a number or contain symbols'),
        ("FROM --from=x a\n", 1, "unknown flag: --from"),
        ("FROM --platform a\n", 1, "missing a value on flag: --platform"),
        ("FROM a\nCOPY b\n", 2,
         "COPY requires at least two arguments, but only one was provided. Destination could not be determined"),
        ("FROM a\nADD\n", 2,
         "ADD requires at least two arguments, but only one was provided. Destination could not be determined"),
        ("FROM a\nCOPY --link=maybe b c\n", 2, "Expecting boolean value for flag --link, not: maybe"),
        ("FROM a\nCOPY --from=b --from=c b c\n", 2, "Duplicate flag specified: --from"),
        ("FROM a\nCOPY --from=$b b c\n", 2, "variable expansion is not supported for --from"),
        ("FROM a\nCOPY b <<EOF\nEOF\n", 2, "COPY cannot accept a heredoc as a destination"),
        ("FROM a\nRUN --security=insecure b\n", 2, "RUN --security is not supported"),
        ("FROM a\nRUN --device=vendor1.com/device=foo b\n", 2, "RUN --device is not supported"),
        ("FROM a\nRUN --network=bridge b\n", 2, 'network mode "bridge" is not valid'),
        ("FROM a\nRUN --mount=target=/,from=$b c\n", 2,
         "'from' doesn't support variable expansion, define alias stage instead"),
        ("FROM a\nRUN --foo b\n", 2, "unknown flag: --foo"),
        ("FROM a\nRUN b <<EOF\nEOF2\n", 2, "unterminated heredoc"),
        ("FROM a\nCMD [\"a\", 1]\n", 2, "when using JSON array syntax, arrays must be comprised of strings only"),
        ("FROM a\nENV\n", 2, "ENV requires at least one argument"),
        ("FROM a\nENV b\n", 2, "ENV must have two arguments"),
        ("FROM a\nENV =b\n", 2, "ENV names can not be blank"),
        ("FROM a\nENV b=c \"d\n", 2, "Syntax error - can't find = in \"\\\"d\". Must be of the form: name=value"),
        ("FROM a\nLABEL b=c d\n", 2, "Syntax error - can't find = in \"d\". Must be of the form: name=value"),
        ("FROM a\nARG\n", 2, "ARG requires at least one argument"),
        ("FROM a\nARG =b\n", 2, "ARG names can not be blank"),
        ("FROM a\nUSER\n", 2, "USER requires exactly one argument"),
        ("FROM a\nWORKDIR\n", 2, "WORKDIR requires exactly one argument"),
        ("FROM a\nSTOPSIGNAL\n", 2, "STOPSIGNAL requires exactly one argument"),
        ("FROM a\nMAINTAINER\n", 2, "MAINTAINER requires exactly one argument"),
        ("FROM a\nEXPOSE\n", 2, "EXPOSE requires at least one argument"),
        ("FROM a\nVOLUME\n", 2, "VOLUME requires at least one argument"),
        ("FROM a\nVOLUME []\n", 2, "VOLUME requires at least one argument"),
        ("FROM a\nVOLUME [\"\"]\n", 2, "VOLUME specified can not be an empty string"),
        ("FROM a\nSHELL sh\n", 2, "SHELL requires the arguments to be in JSON form"),
        ("FROM a\nSHELL []\n", 2, "SHELL requires at least one argument"),
        ("FROM a\nSHELL\n", 2, "SHELL requires at least one argument"),
        ("FROM a\nHEALTHCHECK\n", 2, "HEALTHCHECK requires at least one argument"),
        ("FROM a\nHEALTHCHECK NONE b\n", 2, "HEALTHCHECK NONE takes no arguments"),
        ("FROM a\nHEALTHCHECK foo b\n", 2, 'Unknown type "FOO" in HEALTHCHECK (try CMD)'),
        ("FROM a\nHEALTHCHECK CMD\n", 2, "Missing command after HEALTHCHECK CMD"),
        ("FROM a\nHEALTHCHECK CMD []\n", 2, "Missing command after HEALTHCHECK CMD"),
        ("FROM a\nHEALTHCHECK --interval=1 CMD b\n", 2, 'time: invalid duration "1"'),
        ("FROM a\nHEALTHCHECK --interval=1us CMD b\n", 2, 'Interval "interval" cannot be less than 1ms'),
        ("FROM a\nHEALTHCHECK --retries=-1 CMD b\n", 2, "--retries cannot be negative (-1)"),
        ("FROM a\nHEALTHCHECK --retries=x CMD b\n", 2, '"x" is not a number of retries'),
        ("FROM a\nONBUILD\n", 2, "ONBUILD requires at least one argument"),
        ("FROM a\nONBUILD ONBUILD RUN b\n", 2, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("FROM a\nonbuild from b\n", 2, "FROM isn't allowed as an ONBUILD trigger"),
        ("FROM a\nONBUILD MAINTAINER b\n", 2, "MAINTAINER isn't allowed as an ONBUILD trigger"),
        ("FROM a\nONBUILD FOO b\n", 2, "unknown instruction: FOO"),
        ("FROM a\nONBUILD COPY b\n", 2,
         "COPY requires at least two arguments, but only one was provided. Destination could not be determined"),
        ("# escape=x\nFROM a\n", 1, "invalid escape token 'x' does not match ` or \\"),
        ("# escape=`\n# escape=`\nFROM a\n", 2, "only one escape parser directive can be used"),
        ("# syntax=a/b\nFROM a\n", 1, "the syntax a/b is not supported"),
        ("FROM a\nRUN " + "x" * (1 << 16) + "\n", 2, "dockerfile line greater than max allowed size of 65535"),
        ("FROM a\n\nRUN b\0c\n", 3, "the dockerfile holds a NUL character"),
        ('FROM a\nCMD ["\\u0000"]\n', 2, "a word of a JSON array holds a NUL character"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, line: int, reason: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(text)
    assert (caught.value.line, caught.value.reason) == (line, reason)
    assert str(caught.value) == (f"dockerfile parse error on line {line}: {reason}" if line else reason)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("line", "hint"), [("RNU a", "Did you mean RUN?"), ("COPY --form=a b c", "Did you mean --from?"), ("XYZZY a", "")]
)
def test_a_typing_error_has_a_hint(line: str, hint: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(f"FROM a\n{line}\n")
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("text", "directives"),
    [
        ("FROM a\n", Directives()),
        ("# syntax=docker/dockerfile:1.7\n#escape=`\n# Check = skip=all;error=true \nFROM a\n",
         Directives("docker/dockerfile:1.7", "`", "skip=all;error=true")),
        ("\ufeff#\tEscape =  ` \r\nFROM a\n", Directives(escape="`")),
        ("# syntax=docker.io/docker/dockerfile-upstream:master@sha256:00\nFROM a\n",
         Directives("docker.io/docker/dockerfile-upstream:master@sha256:00")),
        ("# foo=1\n# escape=`\nFROM a\n", Directives()),
        ("\n# escape=`\nFROM a\n", Directives()),
        ("FROM a\n# escape=`\n", Directives()),
        ("# escape=\nFROM a\n", Directives()),
    ],
)  # fmt: skip
def test_directives(text: str, directives: Directives) -> None:
    assert parse(text).directives == directives


@pytest.mark.parametrize(
    ("text", "command", "last"),
    [
        ("RUN a \\\nb", "a b", 3),
        ("RUN a \\ \t\n  b", "a   b", 3),
        ("RUN a\\\r\n b\r\n", "a b", 3),
        ("RUN a \\\n# c\n\n  # d\nb # e\nUSER x", "a b # e", 6),
        ("RUN a \\", "a", 2),
        ("RUN a \\\n\n\n", "a", 4),
        ("RUN a \\\\\nUSER b", "a \\\\", 2),
        ("RUN a \\\n\\\nb", "a b", 4),
        ("\\\n RUN a", "a", 3),
        ("RUN \\\n a", "a", 3),
        ("  # c\n RUN a", "a", 3),
    ],
)
def test_continuations(text: str, command: str, last: int) -> None:
    run = parse(f"FROM x\n{text}").instructions[1]
    assert isinstance(run, of.Run)
    assert (run.command, run.last_line) == (command, last)


def test_the_escape_directive_changes_what_continues() -> None:
    run = parse("# escape=`\nFROM x\nRUN a `\nb\nRUN c:\\\nUSER d").instructions
    assert [each.text for each in run] == ["FROM x", "RUN a b", "RUN c:\\", "USER d"]


def test_places_are_those_of_the_file() -> None:
    text = "# top\nFROM a\n\nRUN b \\\n  # why\n  c\nRUN <<E\nd\nE\nCMD e\n"
    lines = text.splitlines(keepends=True)
    places = [(each.line, each.last_line) for each in parse(text).instructions]
    assert places == [(2, 2), (4, 6), (7, 9), (10, 10)]
    for each in parse(text).instructions:
        assert each.source == "".join(lines[each.line - 1 : each.last_line])


def test_a_trigger_comes_back_as_an_instruction() -> None:
    onbuild = parse("FROM a\nONBUILD COPY --from=b <<-X c \\\n /d/\n\tx\n\tX\n").instructions[1]
    assert isinstance(onbuild, of.Onbuild)
    copy = parse_trigger(onbuild.trigger, 7)
    assert isinstance(copy, of.Copy)
    assert (copy.line, copy.from_, copy.sources, copy.dest) == (7, "b", ("c",), "/d/")
    assert copy.heredocs[0].content == "x\n"


@pytest.mark.parametrize("text", ["", "# a", "RUN a\nRUN b", "FROM a", "ONBUILD RUN a", "FOO"])
def test_an_image_with_a_bad_trigger_is_refused(text: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse_trigger(text, 3)
    assert caught.value.line == 3


@given(st.lists(ANY_LINE, max_size=12).map("\n".join))
def test_any_text_is_a_dockerfile_or_an_error_of_ours(text: str) -> None:
    for head in ("", "FROM scratch\n"):
        try:
            found = parse(head + text)
        except DockerfileError:
            continue
        last = 0
        for each in found.instructions:
            assert last < each.line <= each.last_line
            last = each.last_line


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20), min_size=1))
def test_an_array_comes_through_as_it_is(words: list[str]) -> None:
    import json

    cmd = parse(f"FROM a\nCMD {json.dumps(words)}\n").instructions[1]
    assert isinstance(cmd, of.Cmd)
    assert cmd.argv == tuple(words)
