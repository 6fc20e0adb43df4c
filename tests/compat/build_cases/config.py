"""Instructions that change the image's config."""

from __future__ import annotations

from .case import Case

CONFIG = [
    Case("cmd-forms", 'FROM busybox\nCMD ["a", "b\\u0041\\""]\nCMD echo $HOME && x\nCMD []\nCMD echo   two  spaces\n'),
    Case("entrypoint-resets-cmd", 'FROM before\nENTRYPOINT ["/e", "x"]\n', before='FROM busybox\nCMD ["theirs"]\n'),
    Case(
        "entrypoint-after-cmd",
        "FROM before\nCMD mine\nENTRYPOINT exec top -b\n",
        before='FROM busybox\nCMD ["theirs"]\n',
    ),
    Case("expose", "FROM busybox\nEXPOSE 80 443/tcp 53/udp\nEXPOSE 7000-7003/udp 80/tcp\nEXPOSE 8080/TCP\n"),
    Case(
        "labels",
        'FROM busybox\nLABEL a=1 "b c"="d e" f=\'g h\' i="j \\\nk"\nLABEL com.example.x="y\\"z"\nLABEL a=2\nLABEL m n o\n',
        options=("--label", "z=flag", "--label", "a=flag"),
    ),
    Case("volumes", 'FROM busybox\nVOLUME /a /b\nVOLUME ["/c d", "/e"]\nVOLUME /a\n'),
    Case(
        "volume-then-run",
        "FROM busybox\nRUN mkdir /v && echo 1 > /v/before\nVOLUME /v /new\nRUN echo 2 > /v/after; ls /v > /seen; ls -d /new >> /seen || echo none >> /seen\nCOPY f /v/copied\n",
        "echo x > f",
    ),
    Case(
        "users",
        "FROM busybox\nUSER 5\nRUN id -u > /tmp/a\nUSER user\nRUN id -u > /tmp/b; pwd > /tmp/c; echo $HOME > /tmp/d\nUSER 7:8\nRUN id -g > /tmp/e\nUSER root\nCOPY f /f\n",
        "echo x > f",
    ),
    Case(
        "workdirs",
        'FROM busybox\nENV D=/env\nWORKDIR /a\nWORKDIR b\nWORKDIR c/../d\nRUN pwd > f\nWORKDIR $D/x\nRUN pwd > f\nWORKDIR /\nWORKDIR .\nWORKDIR "/with space"\nCOPY f .\n',
        "echo x > f",
    ),
    Case(
        "workdir-with-user",
        "FROM busybox\nUSER 5:6\nWORKDIR /made/by/five\nRUN touch f\nUSER user\nWORKDIR /made/by/name\nWORKDIR ../other\nUSER 0\nWORKDIR /made/by/root\n",
    ),
    Case(
        "workdir-through-link",
        "FROM busybox\nRUN mkdir /real && ln -s /real /link && ln -s nowhere /dangling\nWORKDIR /link/sub\nRUN pwd > f\n",
    ),
    Case(
        "workdir-that-exists",
        "FROM busybox\nRUN mkdir -m 700 /there && chown 3:4 /there\nUSER 5\nWORKDIR /there\nWORKDIR /\n",
    ),
    Case(
        "healthcheck",
        'FROM busybox AS none\nHEALTHCHECK NONE\nFROM none\nHEALTHCHECK --interval=1m30s --timeout=500ms --start-period=2h --retries=7 CMD curl -f "http://x" || exit 1\n',
    ),
    Case("healthcheck-exec", 'FROM busybox\nHEALTHCHECK CMD ["true", "a b"]\n'),
    Case("healthcheck-none", "FROM busybox\nHEALTHCHECK --retries=3 CMD x\nHEALTHCHECK NONE\n"),
    Case("stop-signals", "FROM busybox\nSTOPSIGNAL 9\nSTOPSIGNAL SIGKILL\nSTOPSIGNAL RTMIN+3\nSTOPSIGNAL usr1\n"),
    Case(
        "shell",
        'FROM busybox\nSHELL ["/bin/sh", "-ec"]\nRUN echo $0 $- > /f\nCMD shell form\nENTRYPOINT entry\nHEALTHCHECK CMD check\nFROM 0\nRUN echo $- > /g\nSHELL ["/bin/busybox", "sh", "-uc"]\nRUN echo $- > /h\n'.replace(
            "FROM 0\n", ""
        ),
    ),
    Case("maintainer", "FROM busybox\nMAINTAINER Somebody <some@body>\n"),
    Case(
        "onbuild",
        "FROM before\nRUN echo own >> /f\nFROM 0\n".replace("FROM 0\n", ""),
        "echo x > c",
        before='FROM busybox\nONBUILD ENV A=1\nONBUILD COPY c /c\nONBUILD RUN echo $A >> /f\nONBUILD WORKDIR /w\nONBUILD USER 0:7\nONBUILD CMD ["on"]\nRUN echo base > /f\n',
    ),
    Case(
        "onbuild-of-a-stage",
        "FROM busybox AS one\nONBUILD RUN echo on > /on\nFROM one\nRUN echo two > /two\nONBUILD LABEL x=y\nONBUILD ARG Z=$A\n",
    ),
    Case(
        "inherited",
        "FROM before\nENV B=3 C=4\nLABEL m=2\nEXPOSE 2\nVOLUME /w\nRUN pwd > /tmp/pwd; id -u > /tmp/id\n",
        before='FROM busybox\nENV A=1 B=2\nLABEL l=1\nEXPOSE 1\nVOLUME /v\nWORKDIR /tmp\nUSER 5\nCMD ["c"]\nSTOPSIGNAL 3\nSHELL ["/bin/sh", "-exc"]\nHEALTHCHECK CMD x\nMAINTAINER m\n',
    ),
    Case("nothing-but-from", "FROM busybox\n"),
    Case("config-only", 'FROM busybox\nENV A=1\nCMD ["x"]\n'),
    Case("env-path", "FROM busybox\nENV PATH=/opt/bin:$PATH\nRUN echo $PATH > /f\n"),
]
