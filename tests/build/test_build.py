"""`build`: Dockerfiles become images, as people find them by running what they have built."""

from __future__ import annotations

import io
import json
import os
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Builder

EVERYTHING = """\
# A comment
FROM busybox AS base
ARG WHO=world
ENV GREETING="hello $WHO" \\
    # within
    EMPTY=
RUN echo "$GREETING" > /greeting && rm /bin/ls && echo ann:x:1234:1234::/:/bin/sh >> /etc/passwd
WORKDIR /work/below
USER ann
WORKDIR own
COPY --chown=ann:5 --chmod=640 files/ ./
COPY *.txt /texts/
LABEL one=1 "two words"=2
EXPOSE 80 53/udp 8000-8001
VOLUME /data
STOPSIGNAL SIGINT
HEALTHCHECK --interval=1m30s --retries=2 CMD true
CMD ["cat", "/greeting"]
"""


def config_of(builder: Builder) -> dict[str, Any]:
    [document] = json.loads(builder.minirun("image", "inspect", "built").stdout)
    config: dict[str, Any] = document["Config"]
    return config


def test_an_image_of_many_instructions(builder: Builder) -> None:
    files = {"files/a": "A", "files/sub/b": "B", "one.txt": "1", "two.txt": "2", "three.md": "3"}
    builder(EVERYTHING, "--build-arg=WHO=you", "--label=three=3", files=files)
    assert builder.run() == "hello you\n"
    config = config_of(builder)
    assert config["Env"][-2:] == ["GREETING=hello you", "EMPTY="]
    assert (config["WorkingDir"], config["User"], config["StopSignal"]) == ("/work/below/own", "ann", "SIGINT")
    assert config["Labels"] == {"one": "1", "two words": "2", "three": "3"}
    assert sorted(config["ExposedPorts"]) == ["53/udp", "80/tcp", "8000/tcp", "8001/tcp"]
    assert config["Healthcheck"] == {"Test": ["CMD-SHELL", "true"], "Interval": 90 * 10**9, "Retries": 2}
    found = builder.shell("cd /work/below; stat -c '%n %a %u:%g' . own own/a; echo /texts/*")
    assert found.splitlines() == [
        ". 755 0:0",
        "own 755 1234:1234",
        "own/a 640 1234:5",
        "/texts/one.txt /texts/two.txt",
    ]
    command = ["run", "--rm", "--network=none", "-u", "0", "built"]
    assert builder.minirun(*command, "stat", "-c", "%a %u:%g", "sub", "sub/b").stdout == "640 1234:5\n640 1234:5\n"
    assert builder.minirun(*command, "test", "-e", "/bin/ls", check=False).returncode == 1
    history = builder.minirun("history", "--no-trunc", "--format", "{{.CreatedBy}}", "built").stdout.splitlines()
    assert history[0] == 'CMD ["cat" "/greeting"]'
    assert "COPY --chown=ann:5 --chmod=640 files/ ./ # buildkit" in history


def test_a_step_is_cached_until_something_that_it_depends_on_changes(builder: Builder) -> None:
    dockerfile = "FROM busybox\nARG X=1\nCOPY a /\nRUN echo $X > /x\nRUN true\n"
    assert builder.cached(dockerfile, files={"a": "1", "b": "1"}) == [False, False, False]
    first = builder.minirun("images", "-q", "built").stdout
    assert builder.cached(dockerfile, files={"b": "2"}) == [True, True, True]
    assert builder.minirun("images", "-q", "built").stdout == first
    os.utime(builder.context / "a", (1, 1))
    assert builder.cached(dockerfile) == [True, True, True], "times do not count"
    (builder.context / "a").chmod(0o755)
    assert builder.cached(dockerfile) == [False, False, False], "modes do"
    assert builder.cached(dockerfile, "--build-arg=X=2") == [True, False, False]
    assert builder.cached(dockerfile, "--build-arg=UNUSED=2", "--build-arg=HTTP_PROXY=x") == [True, True, True]
    assert builder.cached(dockerfile, files={"a": "2"}) == [False, False, False]
    assert builder.cached(dockerfile, "--no-cache") == [False, False, False]
    builder.minirun("builder", "prune", "-af")
    assert builder.cached(dockerfile) == [False, False, False]


def test_stages(builder: Builder) -> None:
    dockerfile = """\
FROM busybox AS one
RUN mkdir /out && echo one > /out/one && ln -s one /out/link
FROM busybox AS never
RUN false
FROM one AS two
RUN echo two > /out/two
FROM scratch
COPY --from=two /out /
COPY --from=0 /out/link /followed
COPY --from=busybox /bin/busybox /bin/
"""
    builder(dockerfile)
    assert builder.run("/bin/busybox", "ls", "/").split() == (
        ["bin", "dev", "etc", "followed", "link", "one", "proc", "sys", "two"]
    )
    assert builder.run("/bin/busybox", "readlink", "/link") == "one\n"
    assert builder.run("/bin/busybox", "cat", "/followed") == "one\n"
    builder(dockerfile, "--target=one")
    assert builder.run("ls", "/out").split() == ["link", "one"]
    failed = builder(dockerfile, "--target=never", code=1).stderr
    assert "Dockerfile:4" in failed
    assert ">>> RUN false" in failed


MOUNTS = """\
FROM busybox AS files
RUN echo from a stage > /file
FROM busybox
RUN <<EOF
set -e
echo first > /lines
echo second >> /lines
EOF
COPY <<EOF /copied
text $PATH
EOF
RUN <<EOF
#!/bin/cat
a script of its own
EOF
RUN --mount=type=bind,from=files,source=/file,target=/mnt/file --mount=type=secret,id=key \\
    cat /mnt/file /run/secrets/key > /seen; stat -c %a /run/secrets/key >> /seen
RUN --mount=type=cache,target=/cache,id=test echo x >> /cache/x; wc -l < /cache/x > /count
RUN --mount=type=tmpfs,target=/fast touch /fast/file
RUN --mount=type=bind,target=/ctx,rw touch /ctx/new && test -e /ctx/Dockerfile
"""


def test_heredocs_and_mounts(builder: Builder, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("very secret\n")
    secret = f"--secret=id=key,src={tmp_path / 'secret'}"
    builder(MOUNTS, secret)
    assert builder.shell("cat /lines; head -c 6 /copied; cat /seen /count").splitlines() == (
        ["first", "second", "text /from a stage", "very secret", "400", "1"]
    )
    assert builder.shell("ls -d /cache /fast /ctx /mnt/* /run/secrets 2>/dev/null; true") == ""
    assert not (builder.context / "new").exists()
    builder(MOUNTS, secret, "--no-cache")
    assert builder.run("cat", "/count") == "2\n", "the cache outlives a build"


def test_what_is_ignored_is_not_there(builder: Builder) -> None:
    files = {".dockerignore": "*.log\nnode\n!node/keep\n", "a.log": "", "b": "", "node/x/y": "", "node/keep": ""}
    builder("FROM busybox\nCOPY . /all/\n", files=files)
    assert builder.shell("cd /all; find . -type f | sort").split() == [
        "./.dockerignore",
        "./Dockerfile",
        "./b",
        "./node/keep",
    ]
    assert "not found" in builder("FROM busybox\nCOPY a.log /\n", code=1).stderr


def test_archives_are_unpacked_by_add_alone(builder: Builder) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        member = tarfile.TarInfo("../dir/file")
        member.uid, member.size = 7, 3
        archive.addfile(member, io.BytesIO(b"abc"))
    (builder.context / "x.tar.gz").write_bytes(data.getvalue())
    builder("FROM busybox\nADD x.tar.gz /added/\nCOPY x.tar.gz /copied/\n")
    assert builder.shell("stat -c %n:%u:%s /added/dir/file; ls /copied") == "/added/dir/file:7:3\nx.tar.gz\n"


@pytest.mark.parametrize(
    ("dockerfile", "message"),
    [
        ("FROM busybox\nRUN exit 7\n", "did not complete successfully: exit code: 7"),
        ("FROM busybox\nRUN nosuchprogram\n", "did not complete successfully: exit code: 127"),
        ("FROM busybox\nCOPY missing /\n", '"/missing": not found'),
        ("FROM busybox\nCOPY --chown=nobodyatall a /\n", "nobodyatall"),
        ("FROM busybox\nCOPY a /bin/sh/x\n", "cannot copy to non-directory"),
        ("FROM nosuchimage.invalid/x\n", "nosuchimage.invalid/x"),
        ("FROM busybox\nBAD x\n", "unknown instruction: BAD"),
        ("FROM busybox\nRUN --mount=type=secret,id=none,required cat x\n", "none: not found"),
    ],
)
def test_mistakes(builder: Builder, dockerfile: str, message: str) -> None:
    failed = builder(dockerfile, files={"a": ""}, code=1)
    assert message in failed.stderr
    assert failed.stdout == ""
    assert builder.minirun("image", "inspect", "built", check=False).returncode == 1


def test_files_in_place_of_an_image(builder: Builder, tmp_path: Path) -> None:
    lines = ("FROM busybox AS made", "RUN mkdir /d && echo x > /d/f && chmod 600 /d/f", "FROM scratch")
    dockerfile = "\n".join((*lines, "COPY --from=made /d /\n"))
    builder(dockerfile, "-o", tmp_path / "out")
    assert (tmp_path / "out/f").read_text() == "x\n"
    builder(dockerfile, "-o", f"type=tar,dest={tmp_path / 'x.tar'}")
    with tarfile.open(tmp_path / "x.tar") as archive:
        assert archive.getnames() == ["f"]
        assert archive.getmember("f").mode == 0o600
    assert builder.minirun("image", "inspect", "built", check=False).returncode == 1


def test_standard_input_is_a_dockerfile_or_a_context(builder: Builder) -> None:
    builder.minirun("build", "-t", "built", "-", input="FROM busybox\nRUN echo a > /a\n")
    assert builder.run("cat", "/a") == "a\n"
    builder.write({"sub/Dockerfile": "FROM busybox\nCOPY b /\n", "b": "b"})
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        archive.add(builder.context, ".")
    builder.minirun("build", "-t", "built", "-f", "sub/Dockerfile", "-", input=data.getvalue())
    assert builder.run("cat", "/b") == "b"
    failed = builder.minirun("build", "-", input="FROM busybox\nCOPY b /\n", check=False)
    assert failed.returncode == 1
    assert "no build context" in failed.stderr


def test_the_id_is_all_that_a_quiet_build_prints(builder: Builder, tmp_path: Path) -> None:
    done = builder("FROM busybox\nRUN echo loud\n", "-q", "--iidfile", tmp_path / "id")
    assert done.stderr == ""
    assert done.stdout == f"{(tmp_path / 'id').read_text()}\n"
    assert builder.minirun("images", "-q", "--no-trunc", "built").stdout == done.stdout


def test_onbuild_is_done_by_the_next_build(builder: Builder) -> None:
    builder("FROM busybox\nONBUILD COPY a /a\nONBUILD RUN cat /a > /b\n", "-t", "parent", files={"a": "A"})
    builder("FROM parent\nRUN echo x >> /b\n")
    assert builder.run("cat", "/b") == "Ax\n"
    assert not config_of(builder).get("OnBuild")
