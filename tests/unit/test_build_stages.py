"""Stages and variables: what a target needs, and what `$x` is at each place. Compared with `docker build`."""

from __future__ import annotations

import pytest

from minirun.build.dockerfile import instructions as of
from minirun.build.dockerfile.error import DockerfileError
from minirun.build.dockerfile.parse import parse
from minirun.build.stages import Origin, Plan, make_plan, target_name
from minirun.build.variables.expansion import expanded, mounts_of
from minirun.build.variables.scope import (
    Scope,
    first_scope,
    platform_variables,
    proxy_environment,
    unused_build_args,
)
from minirun.model.platform import Platform

PREDEFINED = platform_variables(Platform("linux", "arm", "v7"), Platform("linux", "amd64"), "")


def plan_of(text: str, target: str = "", contexts: tuple[str, ...] = (), **build_args: str) -> Plan:
    return make_plan(parse(text), build_args, PREDEFINED, target, contexts)


def walk(plan: Plan, number: int, scopes: dict[int, Scope], build_args: dict[str, str]) -> dict[str, str]:
    """Go through a stage as the builder does; return its labels, and put the scope at its end into `scopes`."""
    stage = plan.stages[number]
    scope = first_scope(["PATH=/bin"]) if stage.base.stage is None else scopes[stage.base.stage]
    labels: dict[str, str] = {}
    for instruction in [*stage.triggers, *stage.instructions]:
        if isinstance(instruction, of.Arg):
            scope = scope.after_arg(instruction, build_args, plan.global_args, plan.escape)
        elif isinstance(instruction, of.Env):
            scope = scope.after_env(expanded(instruction, scope.variables, plan.escape))
        elif isinstance(instruction, of.Label):
            labels |= dict(expanded(instruction, scope.variables, plan.escape).labels)
    scopes[number] = scope
    return labels


def labels_of(text: str, **build_args: str) -> dict[str, str]:
    """Return the labels that the last stage sets."""
    plan = plan_of(text, **build_args)
    scopes: dict[int, Scope] = {}
    found = {number: walk(plan, number, scopes, build_args) for number in plan.order}
    return found[plan.target]


@pytest.mark.parametrize(
    ("text", "build_args", "value"),
    [
        ("FROM a\nARG x=1\nARG x=2\nLABEL l=$x", {}, "2"),
        ("FROM a\nARG x=1\nENV x=2\nARG x=3\nLABEL l=$x", {}, "3"),
        ("FROM a\nARG x=1\nENV x=2\nLABEL l=$x", {"x": "9"}, "2"),
        ("FROM a\nARG x=1\nARG x\nLABEL l=$x", {}, "1"),
        ("FROM a\nENV x=5\nARG x\nLABEL l=$x", {}, "5"),
        ("FROM a\nENV x=5\nARG x\nLABEL l=$x", {"x": "7"}, "7"),
        ("ARG x=1\nFROM a\nENV x=5\nARG x\nLABEL l=$x", {}, "1"),
        ("ARG x=1\nFROM a\nARG x\nLABEL l=$x", {}, "1"),
        ("ARG x=1\nFROM a\nLABEL l=$x", {}, ""),
        ("ARG x=1\nARG x\nFROM a\nARG x\nLABEL l=$x", {}, ""),
        ("ARG x=1\nFROM a\nARG x=7\nLABEL l=$x", {}, "7"),
        ("ARG x\nFROM a\nARG x=7\nLABEL l=$x", {}, "7"),
        ("ARG x=1\nFROM a\nARG x=${x:-2}\nLABEL l=$x", {}, "2"),
        ("ARG x=1\nFROM a\nARG x\nARG x=${x}2\nLABEL l=$x", {}, "12"),
        ("ARG x=1 y=${x}2\nFROM a\nARG y\nLABEL l=$y", {}, "12"),
        ("FROM a\nARG x=1 y=${x}2\nLABEL l=$y", {}, "12"),
        ("FROM a\nARG x=1 y=${x}2\nLABEL l=$y", {"x": "3"}, "32"),
        ("FROM a\nARG x=${u:?never read}\nLABEL l=$x", {"x": "3"}, "3"),
        ("FROM a\nLABEL l=$x\nARG x=1", {"x": "3"}, ""),
        ("FROM a AS b\nARG x=1\nFROM b\nLABEL l=$x", {}, "1"),
        ("FROM a AS b\nARG x=1\nFROM a\nLABEL l=$x", {}, ""),
        ("FROM a AS b\nARG x=1\nENV z=$x\nFROM b\nLABEL l=$z", {"x": "2"}, "2"),
        ("FROM a\nENV x=1 y=$x\nLABEL l=[$y]", {}, "[]"),
        ("FROM a\nENV x=1\nENV y=$x\nLABEL l=[$y]", {}, "[1]"),
        ("FROM a\nARG b=q\nARG a$b=1\nLABEL l=$aq", {}, "1"),
        ('FROM a\nARG "x"="a  b"\nLABEL l=$x', {}, "a  b"),
        ("FROM a\nLABEL l=$PATH", {}, "/bin"),
        ("FROM a\nLABEL l=$http_proxy", {"http_proxy": "p"}, ""),
        ("FROM a\nARG http_proxy\nLABEL l=$http_proxy", {"http_proxy": "p"}, "p"),
        ("FROM a\nLABEL l=$TARGETOS", {}, ""),
        ("FROM a\nARG TARGETPLATFORM TARGETVARIANT BUILDARCH\nLABEL l=$TARGETPLATFORM:$TARGETVARIANT:$BUILDARCH", {},
         "linux/arm/v7:v7:amd64"),
        ("ARG TARGETOS=foo\nFROM a\nARG TARGETOS\nLABEL l=$TARGETOS", {}, "foo"),
        ("FROM a\nARG TARGETOS=foo\nLABEL l=$TARGETOS", {}, "foo"),
        ("FROM a\nARG TARGETSTAGE\nLABEL l=$TARGETSTAGE", {}, "default"),
        ("FROM a AS b\nONBUILD ENV c=2\nENV c=1\nFROM b\nLABEL l=$c", {}, "2"),
        ("FROM a AS b\nONBUILD ENV c=2\nENV c=1\nFROM b AS d\nENV c=3\nFROM d\nLABEL l=$c", {}, "3"),
        ("# escape=`\nFROM a\nENV x=\\a\nLABEL l=`$x$x", {}, "$x\\a"),
    ],
)  # fmt: skip
def test_scopes(text: str, build_args: dict[str, str], value: str) -> None:
    assert labels_of(text, **build_args)["l"] == value


def test_the_image_keeps_env_and_history_names_args() -> None:
    plan = plan_of("FROM a\nARG x=1\nENV y=$x\nARG z\nARG x=3\n")
    scopes: dict[int, Scope] = {}
    walk(plan, 0, scopes, {})
    assert scopes[0].environment == {"PATH": "/bin", "y": "1"}
    assert scopes[0].variables == {"PATH": "/bin", "x": "3", "y": "1"}
    assert list(scopes[0].args.items()) == [("x", "3"), ("z", None)]


@pytest.mark.parametrize(
    ("text", "target", "order"),
    [
        ("FROM a", "", (0,)),
        ("FROM a\nFROM b", "", (1,)),
        ("FROM a AS x\nFROM x", "", (0, 1)),
        ("FROM a AS X\nFROM x", "", (0, 1)),
        ("FROM a AS x\nFROM b AS y\nFROM c\nCOPY --from=x p p", "", (0, 2)),
        ("FROM a AS x\nFROM b AS y\nFROM c\nCOPY --from=1 p p", "", (1, 2)),
        ("FROM a AS x\nFROM b AS y\nFROM c\nRUN --mount=from=Y,target=/p p", "", (1, 2)),
        ("FROM a AS x\nFROM b AS y\nFROM c AS z", "Y", (1,)),
        ("FROM a AS x\nCOPY --from=y p p\nFROM b AS y", "x", (1, 0)),
        ("FROM a AS x\nFROM x AS y\nFROM x AS z\nFROM y\nCOPY --from=z p p", "", (0, 1, 2, 3)),
        ("FROM a AS x\nFROM b AS x\nFROM x", "", (1, 2)),
        ("FROM a AS x\nFROM b AS y\nONBUILD COPY --from=x p p\nFROM y", "", (1, 0, 2)),
        ("FROM a AS x\nFROM b AS y\nONBUILD COPY --from=x p p\nFROM y AS z\nFROM z", "", (1, 0, 2, 3)),
    ],
)
def test_what_a_target_needs(text: str, target: str, order: tuple[int, ...]) -> None:
    assert plan_of(text, target).order == order


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("FROM busybox:1", Origin(image="busybox:1")),
        ("FROM scratch", Origin()),
        ("FROM ctx", Origin(context="ctx")),
        ("FROM 0", Origin(image="0")),
        ("FROM a AS Foo\nFROM Foo", Origin(image="Foo")),
        ("FROM a AS Foo\nFROM foo", Origin(stage=0)),
        ("FROM later\nFROM a AS later", Origin(image="a")),
        ("ARG v=1\nFROM a:${v:+$v-slim}", Origin(image="a:1-slim")),
        ("ARG s=st\nFROM a AS stage\nFROM ${s}age", Origin(stage=0)),
        ("FROM a:$TARGETARCH", Origin(image="a:arm")),
    ],
)
def test_bases(text: str, base: Origin) -> None:
    assert plan_of(text, contexts=("ctx",)).stages[-1].base == base


def test_sources_of_copies() -> None:
    plan = plan_of("FROM a AS x\nFROM b\n", contexts=("ctx", "x2"))
    names = ["0", "x", "X", "ctx", "busybox", "scratch", "x2"]
    assert [plan.origin_of(name) for name in names] == [
        Origin(stage=0), Origin(stage=0), Origin(stage=0), Origin(context="ctx"), Origin(image="busybox"), Origin(),
        Origin(context="x2"),
    ]  # fmt: skip


def test_platforms_of_stages() -> None:
    plan = plan_of("FROM --platform=$BUILDPLATFORM a\nFROM --platform=linux/${u:-386} b\nFROM c")
    assert [stage.platform for stage in plan.stages] == ["linux/amd64", "linux/386", ""]


@pytest.mark.parametrize(
    ("text", "target", "line", "reason"),
    [
        ("FROM $u", "", 1, "base name ($u) should not be blank"),
        ("FROM a\nARG u=b\nFROM $u", "", 3, "base name ($u) should not be blank"),
        ("FROM --platform=$u a", "", 1, "empty platform value from expression $u"),
        ("FROM a${", "", 1, "failed to process \"a${\": syntax error: missing '}'"),
        ("ARG x=${\nFROM a", "", 1, "failed to process \"${\": syntax error: missing '}'"),
        ("FROM a\nCOPY --from=0 p p", "", 1, "circular dependency detected on stage: stage-0"),
        ("FROM a\nCOPY --from=1 p p", "", 2, "invalid stage index 1"),
        ("FROM a\nCOPY --from=-1 p p", "", 2, "invalid stage index -1"),
        ("FROM a AS x\nCOPY --from=X p p", "", 1, "circular dependency detected on stage: x"),
        ("FROM a AS x\nCOPY --from=y p p\nFROM b AS y\nRUN --mount=from=x,target=/p p\nFROM c", "", 1,
         "circular dependency detected on stage: x"),
        ("FROM a AS x\nFROM b", "y", 0, 'target stage "y" could not be found'),
        ("FROM a AS x\nFROM b", "0", 0, 'target stage "0" could not be found'),
    ],
)  # fmt: skip
def test_what_cannot_be_planned(text: str, target: str, line: int, reason: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        plan_of(text, target)
    assert (caught.value.line, caught.value.reason) == (line, reason)


def test_a_long_chain_of_stages() -> None:
    text = "FROM a AS s0\n" + "".join(f"FROM s{n} AS s{n + 1}\n" for n in range(2000))
    assert plan_of(text).order == tuple(range(2001))


def test_the_target_has_a_name() -> None:
    dockerfile = parse("FROM a AS x\nFROM b\n")
    assert (target_name(dockerfile, "X"), target_name(dockerfile, "")) == ("x", "")


def test_proxies_need_no_arg() -> None:
    assert proxy_environment({"HTTP_proxy": "p", "x": "1"}) == {"HTTP_PROXY": "p", "http_proxy": "p"}


def test_build_arguments_that_nobody_takes() -> None:
    given = dict.fromkeys(["x", "y", "b", "a", "NO_PROXY", "BUILDKIT_INLINE_CACHE", "SOURCE_DATE_EPOCH"], "")
    plan = plan_of("ARG x\nFROM c\nARG b\nFROM c\nARG y=1\n")
    assert unused_build_args(given, plan.all_args()) == ("a", "b")


VARIABLES = {"v": "val", "two": "8 9/udp", "e": ""}


@pytest.mark.parametrize(
    ("line", "changes"),
    [
        ("COPY --chown=$v --chmod=$v --exclude=$v $v a$v $v/", {
            "chown": "val", "chmod": "val", "excludes": ("val",), "sources": ("val", "aval"), "dest": "val/"}),
        (r"COPY \$v 'a b' c", {"sources": ("$v", "'a", "b'")}),
        ("ADD --checksum=$v $v $v", {"checksum": "val", "sources": ("val",), "dest": "val"}),
        ('COPY ["$v b", "\'$v\'"]', {"sources": ("val b",), "dest": "$v"}),
        ("ENV $v='a $v' b=\"$v\"", {"variables": (("val", "a $v"), ("b", "val"))}),
        ("LABEL a$v=$v", {"labels": (("aval", "val"),)}),
        ("WORKDIR /$v", {"path": "/val"}),
        ("USER $v:${e:-g}", {"user": "val:g"}),
        ("EXPOSE $two 80-$e81", {"ports": ("8", "9/udp", "80-")}),
        ("VOLUME $v ${e}", {"paths": ("val", "")}),
        ("STOPSIGNAL $v", {"signal": "val"}),
        ("RUN $v", {}),
        ("CMD $v", {}),
        ('ENTRYPOINT ["$v"]', {}),
        ("HEALTHCHECK CMD $v", {}),
        ('SHELL ["$v"]', {}),
        ("ONBUILD ENV a=$v", {}),
        ("MAINTAINER $v", {}),
    ],
)  # fmt: skip
def test_where_variables_are_replaced(line: str, changes: dict[str, object]) -> None:
    instruction = parse(f"FROM a\n{line}").instructions[1]
    if line.startswith("COPY \\"):
        with pytest.raises(DockerfileError, match="looking for matching single-quote") as caught:
            expanded(instruction, VARIABLES, "\\")
        assert caught.value.line == 2
    else:
        assert expanded(instruction, VARIABLES, "\\") == instruction.replace(**changes)


def test_heredocs_of_files_are_expanded_unless_quoted() -> None:
    copy = parse("FROM a\nCOPY <<x <<'y' /\n$v '$v'\nx\n$v\ny\n").instructions[1]
    assert isinstance(copy, of.Copy)
    done = expanded(copy, VARIABLES, "\\")
    assert [each.content for each in done.heredocs] == ["val 'val'\n", "$v\n"]


def test_mounts_are_expanded_at_their_place() -> None:
    run = parse("FROM a\nRUN --mount=type=cache,target=/$v --mount=type=x$v x").instructions[1]
    assert isinstance(run, of.Run)
    with pytest.raises(DockerfileError, match='line 2: unsupported mount type "xval"'):
        mounts_of(run, VARIABLES, "\\")
    (cache,) = mounts_of(run.replace(mounts=run.mounts[:1]), VARIABLES, "\\")
    assert cache.target == "/val"
