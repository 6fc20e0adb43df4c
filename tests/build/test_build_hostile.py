"""Dockerfiles and contexts that try to reach the host's files, and those that only make trouble."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Builder

SECRET = "root of the host"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Return a file of the host that no build may see or change."""
    path = tmp_path / "secret"
    path.write_text(SECRET)
    return path


def everything(builder: Builder) -> str:
    return builder.shell("cat /* /d/* /d/*/* 2> /dev/null; true")


@pytest.mark.parametrize(
    "line",
    [
        "COPY link /f",
        "COPY up/secret /f",
        "COPY top/etc/hostname /f",
        "COPY * /d/",
        "COPY link up top /d/",
        "ADD up /d",
        "COPY . /d",
        "RUN --mount=target=/c,source=up cp /c/* /",
        "RUN --mount=target=/c cp -L /c/up/* /c/top/etc/hostname / 2> /dev/null; cat /c/link > /f 2> /dev/null; true",
        "COPY ../../secret /f",
        "COPY up/../secret /f",
        "COPY --parents up/secret /d/",
        "COPY --parents ./up/./secret /d/",
    ],
)
def test_a_link_in_the_context_leads_nowhere_outside(builder: Builder, secret: Path, line: str) -> None:
    (builder.context / "link").symlink_to(secret)
    (builder.context / "up").symlink_to("..")
    (builder.context / "top").symlink_to("/")
    builder.write({"Dockerfile": f"FROM busybox\n{line}\n"})
    done = builder.minirun("build", "-t", "built", builder.context, check=False)
    assert done.returncode in (0, 1), done.stderr
    assert "internal" not in done.stderr
    if done.returncode == 0:
        assert SECRET not in everything(builder)


def archive(*members: tuple[str, Callable[[tarfile.TarInfo], None] | str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, change in members:
            info = tarfile.TarInfo(name)
            data = b""
            if isinstance(change, str):
                data = change.encode()
                info.size = len(data)
            else:
                change(info)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def link_to(target: str, kind: bytes = tarfile.SYMTYPE) -> Callable[[tarfile.TarInfo], None]:
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.linkname = kind, target

    return change


def test_an_archive_stays_below_its_destination(builder: Builder, secret: Path) -> None:
    data = {
        "dots": archive(("../../../../../../../../.." + str(secret), "changed")),
        "absolute": archive((str(secret), "changed")),
        "through": archive(("l", link_to(str(secret.parent))), ("l/secret", "changed")),
        "hard": archive(("h", link_to(str(secret), tarfile.LNKTYPE)), ("h", "changed")),
        "hardup": archive(("h", link_to("../../../../../../../../.." + str(secret), tarfile.LNKTYPE))),
        "linkthenhard": archive(("l", link_to("/etc")), ("h", link_to("l/passwd", tarfile.LNKTYPE))),
    }
    for name, content in data.items():
        (builder.context / f"{name}.tar").write_bytes(content)
        builder.write({"Dockerfile": f"FROM busybox\nRUN mkdir /x\nADD {name}.tar /x/\n"})
        done = builder.minirun("build", "-t", "built", builder.context, check=False)
        assert done.returncode in (0, 1), done.stderr
        assert "internal" not in done.stderr, done.stderr
        assert secret.read_text() == SECRET
        if done.returncode == 0:
            assert SECRET not in builder.shell("cat /x/* /x/*/*/*/* 2> /dev/null; true")


def test_a_destination_that_leads_to_the_host(builder: Builder, secret: Path) -> None:
    place = secret.parent / "place"
    place.mkdir()
    builder(
        f"FROM busybox\nRUN ln -s {place} /p && ln -s / /r && ln -s ../../../../../../.. /u\n"
        f"RUN ln -s {secret} /s && mkdir -p {place}\n"
        "COPY f /p/\nCOPY f /r/copied\nCOPY f /u/other\nWORKDIR /p/made\nCOPY f /p/new/x\nWORKDIR /u/w\nADD f /s\n",
        files={"f": "content"},
    )
    assert list(place.iterdir()) == []
    assert secret.read_text() == SECRET
    assert builder.shell(f"ls {place}; cat /copied /other") == "f\nmade\nnew\ncontentcontent"


@pytest.mark.parametrize(
    "line",
    [
        "COPY --from=a /l /f",
        "COPY --from=a /d/secret /f",
        "COPY --from=a /l* /d/",
        "RUN --mount=from=a,source=/d,target=/m cat /m/secret > /f; true",
        "RUN --mount=from=a,source=/l,target=/m cat /m > /f; true",
        "RUN --mount=from=a,source=/e,target=/m cat /m/hostname > /f; true",
        "RUN --mount=type=cache,from=a,source=/d,target=/m cat /m/secret > /f; true",
    ],
)
def test_links_of_a_stage_stay_in_it(builder: Builder, secret: Path, line: str) -> None:
    links = f"ln -s {secret} /l && ln -s {secret.parent} /d && ln -s /etc /e"
    builder.write({"Dockerfile": f"FROM busybox AS a\nRUN {links}\nFROM busybox\n{line}\n"})
    done = builder.minirun("build", "-t", "built", builder.context, check=False)
    assert done.returncode in (0, 1), done.stderr
    assert "internal" not in done.stderr
    if done.returncode == 0:
        assert SECRET not in everything(builder)


@pytest.mark.parametrize(
    "target", ["/l", "/l/x", "/up/x", "/proc/1/x", "/proc/self/fd/0", "/etc/../../x", "/dev/null", "/d/secret"]
)
def test_mount_targets_that_are_links(builder: Builder, secret: Path, target: str) -> None:
    links = f"ln -s {secret} /l && ln -s ../../.. /up && ln -s {secret.parent} /d"
    step = f"--mount=type=bind,source=f,target={target},rw echo changed > {target}; true"
    builder.write({"f": "x", "Dockerfile": f"FROM busybox\nRUN {links}\nRUN {step}\n"})
    done = builder.minirun("build", "-t", "built", builder.context, check=False)
    assert done.returncode in (0, 1), done.stderr
    assert "internal" not in done.stderr
    assert secret.read_text() == SECRET
    assert (builder.context / "f").read_text() == "x"


def test_a_step_reaches_no_descriptor_of_the_builder(builder: Builder) -> None:
    builder(
        "FROM busybox\nRUN ls -l /proc/self/fd /proc/1/fd > /f; ls /proc | grep -c '^[0-9]' > /h\n"
        "RUN for f in /proc/1/fd/*; do (echo x > $f/x) 2> /dev/null; done; ls /proc/1/root/ > /g\n"
    )
    targets = {line.split(" -> ")[1] for line in builder.shell("cat /f").splitlines() if " -> " in line}
    assert {target for target in targets if not target.startswith("pipe:")} <= {"/dev/null", "/f"}
    assert builder.shell("cat /h") == "3\n"
