"""What the Dockerfile reference says and the Docker of tests/compat, 20.10, does not do yet, or does otherwise."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Builder

STAT = "stat -c '%n %A %u:%g'"


def test_copy_gives_all_mode_bits(builder: Builder) -> None:
    builder("FROM busybox\nCOPY --chmod=4755 f /f\nCOPY --chmod=u=rwX,go=rX d /d\n", files={"f": "x", "d/e/g": "y"})
    assert builder.shell(f"{STAT} /f /d/e /d/e/g") == (
        "/f -rwsr-xr-x 0:0\n/d/e drwxr-xr-x 0:0\n/d/e/g -rw-r--r-- 0:0\n"
    )


def test_copy_of_special_files(builder: Builder) -> None:
    os.mkfifo(builder.context / "fifo", 0o640)
    os.mknod(builder.context / "null", 0o020666, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(builder.context / "socket"))
        builder("FROM busybox\nCOPY . /d\nADD fifo /x\nCOPY fi* /y/\n")
        assert builder.shell(
            "cd /d; for f in *; do echo $f; done; test -p fifo && test -c null && test -p /x; echo $?"
        ) == ("Dockerfile\nfifo\nnull\n0\n")
        assert '"/socket": not found' in builder("FROM busybox\nCOPY socket /x\n", code=1).stderr


def test_devices_of_a_stage_are_copied(builder: Builder) -> None:
    builder(
        "FROM busybox AS a\nRUN mkdir /d && mknod -m 600 /d/b b 7 3 && mkfifo /d/p && chown 3:4 /d/p\n"
        "FROM busybox\nCOPY --from=a /d /d\n"
    )
    assert builder.shell(f"{STAT} /d/*; stat -c '%t %T' /d/b") == "/d/b brw------- 0:0\n/d/p prw-r--r-- 3:4\n7 3\n"


def test_an_archive_belongs_to_whom_chown_says(builder: Builder) -> None:
    builder("FROM busybox\nRUN mkdir /t && touch /t/f && chown 3:4 /t/f && tar -cf /t.tar t\n")
    archive = builder.minirun.raw("run", "--rm", "--network=none", "built", "cat", "/t.tar").stdout
    (builder.context / "t.tar").write_bytes(archive)
    builder("FROM busybox\nADD t.tar /a/\nADD --chown=7:8 t.tar /b/\n")
    assert builder.shell(f"{STAT} /a/t/f /b/t/f") == "/a/t/f -rw-r--r-- 3:4\n/b/t/f -rw-r--r-- 7:8\n"


def test_a_user_that_is_not_there(builder: Builder) -> None:
    done = builder("FROM busybox\nCOPY --chown=nobody-here f /\n", files={"f": "x"}, code=1)
    assert "nobody-here" in done.stderr
    assert ">>> COPY" in done.stderr


def test_many_sources_need_a_directory(builder: Builder) -> None:
    done = builder("FROM busybox\nCOPY a b /c\n", files={"a": "", "b": ""}, code=1)
    assert "more than one source file, the destination must be a directory and end with a /" in done.stderr


def test_link_parents_and_exclude(builder: Builder) -> None:
    files = {"a/b/c.txt": "1", "a/b/d.md": "2", "a/e.txt": "3"}
    builder(
        "FROM busybox\nCOPY --link a /linked\nCOPY --parents a/b/c.txt a/./e.txt /p/\n"
        "COPY --exclude=*.md --exclude=**/*.md a /x\n",
        files=files,
    )
    assert builder.shell("cd /; find linked p x -type f | sort") == (
        "linked/b/c.txt\nlinked/b/d.md\nlinked/e.txt\np/a/b/c.txt\np/e.txt\nx/b/c.txt\nx/e.txt\n"
    )


def test_a_mode_that_changes_misses_the_cache(builder: Builder) -> None:
    dockerfile = "FROM busybox\nCOPY d /d\n"
    assert builder.cached(dockerfile, files={"d/e/f": "x"}) == [False]
    assert builder.cached(dockerfile) == [True]
    (builder.context / "d/e").chmod(0o700)
    assert builder.cached(dockerfile) == [False]
    # Of the same time and size, BuildKit would not look into it.
    before = (builder.context / "d/e/f").stat()
    builder.write({"d/e/f": "y"})
    os.utime(builder.context / "d/e/f", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert builder.cached(dockerfile) == [False]


def test_patterns_in_exceptions(builder: Builder) -> None:
    builder(
        "FROM busybox\nCOPY . /x\n",
        files={".dockerignore": "*\n!d\nd/**\n!d/**/c.txt\n", "d/sub/c.txt": "1", "d/sub/e": "2", "f": "3"},
    )
    assert builder.shell("cd /x; find . -type f") == "./d/sub/c.txt\n"


@pytest.mark.parametrize("rw", ["", ",rw"])
def test_a_mounted_file_is_not_the_contexts_own(builder: Builder, rw: str) -> None:
    builder(f"FROM busybox\nRUN --mount=source=f,target=/m{rw} echo new > /m; cat /m > /seen\n", files={"f": "old\n"})
    assert builder.shell("cat /seen") == ("new\n" if rw else "old\n")
    assert (builder.context / "f").read_text() == "old\n"


def test_run_without_a_network(builder: Builder) -> None:
    builder("FROM busybox\nRUN --network=none ls /sys/class/net > /none\nRUN ls /sys/class/net > /default\n")
    assert builder.shell("cat /none /default") == "lo\neth0\nlo\n"


def test_much_output(builder: Builder) -> None:
    line = "0123456789" * 10
    done = builder(f"FROM busybox\nRUN yes {line} | head -n 1000000; echo end\n")
    assert done.stderr.count(line) == 1_000_000 + 1  # once in the title
    done = builder("FROM busybox\nRUN head -c 30000000 /dev/zero | tr '\\0' x; echo; echo end; exit 3\n", code=1)
    assert done.stderr.count("x") < 31_000_000, "what is shown once more is short"
    assert "\nend\n------\n" in done.stderr


def test_long_names(builder: Builder) -> None:
    name = "n" * 1000
    builder(
        f"FROM busybox AS {name}\nRUN : {name} && echo 1 > /f\n"
        f"FROM busybox\nCOPY --from={name} /f /f\nENV {name}={name}\n"
    )
    assert builder.shell("cat /f") == "1\n"
    for line in (f"COPY {name} /", f"WORKDIR /{name}", f"WORKDIR /{'/'.join(['d' * 200] * 25)}"):
        done = builder(f"FROM busybox\n{line}\n", code=1)
        assert "name too long" in done.stderr
        assert f">>> {line}" in done.stderr
