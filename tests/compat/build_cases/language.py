"""The language itself: comments, continuations, directives, variables and their scopes."""

from __future__ import annotations

from .case import Case

LANGUAGE = [
    Case(
        "comments",
        "# a comment\n\nFROM busybox\n  # indented\nRUN echo one > /f && \\\n# in a continuation\n\n   # and after a"
        " blank line\n  echo two >> /f\nrun echo three >> /f # not a comment of ours\nRUN echo '# kept' \\\n  >> /f\n",
    ),
    Case(
        "crlf-and-bom",
        '\ufeffFROM busybox\r\nENV A=1\r\nRUN echo $A > /f && \\\r\n  echo 2 >> /f\r\nCMD ["a", "b"]\r\n',
    ),
    Case(
        "escape-directive", '# escape=`\nFROM busybox\nRUN echo a `\n  b > /f\nENV A=`$HOME B=c:\\d\nLABEL l="x`"y"\n'
    ),
    Case("syntax-directive", "#  Syntax = docker/dockerfile:1\nFROM busybox\nENV A=1\n")._replace(
        dockerfile="# escape = \\\nFROM busybox\nENV A=1\n"
    ),
    Case("case-of-words", "from busybox As Base\nenv A 1\nfrom base\ncopy --from=bAsE /etc/passwd /p\ncmd a b\n"),
    Case(
        "env-forms",
        'FROM busybox\nENV A=1 B="two words" C=three\\ words D=\'single $A\' E="double $A" F=$A$B\n'
        'ENV G the rest  of the line $A\nENV H="" I=a\\\n  J=after\nENV A=new K=$A\nENV L=\\$A M=\\\\ N=\'a\'"b"c\n',
    ),
    Case(
        "env-in-one-line",
        "FROM busybox\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\nRUN env | grep -v HOSTNAME | sort > /env\n",
    ),
    Case(
        "substitution",
        "FROM busybox\nENV A=1 E=\nENV U=${NO:-word} V=${A:+set} W=${NO:+set} X=${E:-empty} Y=${A:-no}${NO} Z=$NO.$A\n"
        'WORKDIR /${A}/$A.d/${NO:-x}\nCOPY f$A /${A}f\nLABEL l=${A}-$A "k$A"=v\nEXPOSE ${A}000\nUSER ${NO:-3}:$A\n'
        "VOLUME /v$A /w${A}\nSTOPSIGNAL SIGUSR$A\nRUN echo $A ${A} > /tmp/f\n",
        "echo x > f1",
    ),
    Case(
        "args",
        "ARG V=busybox\nARG W=${V}:latest\nFROM ${W}\nARG V\nARG A=1\nARG B=$A.$A\nARG C\nRUN echo $V,$A,$B,$C > /f\n"
        "ENV A=env\nRUN echo $A > /g\nLABEL a=$A b=$B\n",
        options=("--build-arg", "C=given", "--build-arg", "B=b"),
    ),
    Case(
        "arg-before-use",
        "FROM busybox\nUSER ${user:-5}\nARG user\nUSER $user\nARG x=1\nRUN : $x\nCMD echo $x\n",
        options=("--build-arg", "user=6"),
    ),
    Case(
        "arg-scope-of-stages",
        "ARG G=global\nFROM busybox AS one\nARG G\nARG L=local\nRUN echo $G $L > /f\nFROM one\n"
        'RUN echo "<$G> <$L>" > /g\nFROM busybox\nARG G=other\nRUN echo "<$G> <$L>" > /h\nCOPY --from=1 /f /g /\n',
    ),
    Case(
        "predefined-args",
        'FROM busybox\nRUN echo "$HTTP_PROXY $no_proxy" > /f\nARG FTP_PROXY\nRUN echo $FTP_PROXY > /g\n',
        options=("--build-arg", "HTTP_PROXY=http://p:1", "--build-arg", "no_proxy=n", "--build-arg", "FTP_PROXY=ftp"),
    ),
    Case(
        "platform-args",
        "ARG TARGETARCH\nFROM --platform=$BUILDPLATFORM busybox\nARG TARGETPLATFORM\nARG TARGETOS\nARG TARGETARCH\n"
        "ARG BUILDARCH\nARG TARGETVARIANT\nRUN echo $TARGETPLATFORM $TARGETOS $TARGETARCH $BUILDARCH $TARGETVARIANT > /f\n",
    ),
    Case("leading-spaces", '  FROM   busybox\n\tENV\tA=1\n  RUN   echo  a   b > /f\n   CMD  [ "a" ,  "b c" ]  \n'),
    Case("json-that-is-none", "FROM busybox\nCMD ['a', 'b']\nENTRYPOINT [ \"a\", b ]\n"),
]
