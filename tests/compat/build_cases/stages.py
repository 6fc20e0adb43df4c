"""FROM, stages, and what is copied between them."""

from __future__ import annotations

from .case import Case

STAGES = [
    Case("scratch", 'FROM scratch\nCOPY f /\nCMD ["/f"]\nLABEL a=b\n', "echo x > f; chmod 755 f"),
    Case("scratch-workdir", "FROM scratch\nCOPY f /\nUSER 5:6\nWORKDIR /a/b\nENV X=y\nADD f .\n", "echo x > f"),
    Case(
        "two-stages",
        "FROM busybox AS build\nRUN mkdir /out && echo made > /out/f && ln -s f /out/l && chmod 4755 /out/f\nFROM scratch\nCOPY --from=build /out /\nCOPY --from=0 /out/f /second\n",
    ),
    Case(
        "unused-stage",
        "FROM busybox AS unused\nRUN exit 1\nFROM busybox AS used\nRUN echo a > /a\nFROM busybox\nCOPY --from=used /a /\n",
    ),
    Case(
        "target",
        "FROM busybox AS one\nRUN echo 1 > /f\nFROM one AS two\nRUN echo 2 > /f\nFROM two AS three\nRUN exit 1\n",
        options=("--target", "two"),
    ),
    Case(
        "copy-from-image",
        "FROM scratch\nCOPY --from=busybox /etc/passwd /etc/group /etc/\nCOPY --from=before /data /d\n",
        before="FROM busybox\nRUN mkdir -m 711 /data && echo 1 > /data/f && chown -R 3:4 /data\n",
    ),
    Case(
        "stage-named-like-an-image",
        "FROM busybox AS before\nRUN echo stage > /which\nFROM before\nCOPY --from=before /which /w2\n",
        before="FROM busybox\nRUN echo image > /which\n",
    ),
    Case(
        "stages-that-share",
        "FROM busybox AS base\nRUN echo b > /b\nFROM base AS x\nRUN echo x > /x\nFROM base AS y\nRUN echo y > /y\nFROM base\nCOPY --from=x /x /\nCOPY --from=y /y /\n",
    ),
    Case(
        "links-from-a-stage",
        "FROM busybox AS a\nRUN mkdir -p /d/sub && echo 1 > /d/f && ln /d/f /d/hard && ln -s /d/f /d/abs && ln -s sub /d/dir && ln -s /d /link && ln -s d/f /flink\nFROM scratch\nCOPY --from=a /link /copied/\nCOPY --from=a /flink /file\nCOPY --from=a /link/dir /dir\nCOPY --from=a /d/* /star/\n",
    ),
    Case(
        "owners-from-a-stage",
        "FROM busybox AS a\nRUN mkdir -m 1777 /d && mkdir -m 700 /d/e && touch /d/s /d/g && chmod 6755 /d/s && chown 3:4 /d/g /d/e && chmod 2775 /d/g\nFROM scratch\nCOPY --from=a /d /d\n",
    ),
    Case(
        "from-digestless-tag",
        "FROM busybox:latest AS tagged\nFROM docker.io/library/busybox\nCOPY --from=tagged /etc/passwd /p\n",
    ),
    Case(
        "whiteouts-between",
        "FROM busybox AS a\nRUN mkdir -p /d/e && echo 1 > /d/f && echo 2 > /d/e/g\nRUN rm -r /d/e && rm /d/f && mkdir /d/e && echo 3 > /d/e/h\nFROM scratch\nCOPY --from=a /d /d\n",
    ),
]
