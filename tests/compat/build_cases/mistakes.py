"""Dockerfiles that cannot be built."""

from __future__ import annotations

from .case import Mistake

MISTAKES = [
    Mistake("empty", "# nothing\n", ("file with no instructions",), 0),
    Mistake("no-from", "RUN true\n", ("no build stage in current context",), 1),
    Mistake("unknown-instruction", "FROM busybox\nFOO bar\n", ("unknown instruction: FOO",), 2),
    Mistake("unknown-flag", "FROM busybox\nCOPY --chonw=1 a b\n", ("unknown flag", "chonw"), 2),
    Mistake("copy-one-argument", "FROM busybox\nCOPY a\n", ("COPY requires at least two arguments",), 2),
    Mistake("copy-missing", "FROM busybox\nCOPY no-such /\n", ("/no-such", "not found"), 2),
    Mistake("copy-ignored", "FROM busybox\nCOPY a /\n", ("/a", "not found"), 2, "echo 1 > a; echo a > .dockerignore"),
    Mistake("copy-from-itself", "FROM busybox AS a\nCOPY --from=a /x /\n", ("circular dependency",), 1),
    Mistake("run-fails", "FROM busybox\nRUN echo before\nRUN echo said; \\\n  exit 7\n", ("exit code: 7", "said"), 3),
    Mistake("run-no-such-command", 'FROM busybox\nRUN ["/no/such"]\n', ("/no/such", "no such file"), 2),
    Mistake("unknown-target", "FROM busybox\n", ("target stage", "nope"), 0, options=("--target", "nope")),
    Mistake("bad-expose", "FROM busybox\nEXPOSE what\n", ("Invalid containerPort: what",), 2),
    Mistake("bad-signal", "FROM busybox\nSTOPSIGNAL SIGNONE\n", ("Invalid signal: SIGNONE",), 2),
    Mistake("bad-shell", "FROM busybox\nSHELL /bin/sh -c\n", ("SHELL requires the arguments to be in JSON form",), 2),
    Mistake("bad-healthcheck", "FROM busybox\nHEALTHCHECK WHAT x\n", ("Unknown type", "WHAT"), 2),
    Mistake("healthcheck-interval", "FROM busybox\nHEALTHCHECK --interval=x CMD y\n", ("invalid duration",), 2),
    Mistake("healthcheck-short", "FROM busybox\nHEALTHCHECK --interval=1us CMD y\n", ("interval", "1ms"), 2),
    Mistake("bad-onbuild", "FROM busybox\nONBUILD FROM x\n", ("FROM isn't allowed as an ONBUILD trigger",), 2),
    Mistake("onbuild-onbuild", "FROM busybox\nONBUILD ONBUILD RUN x\n", ("Chaining ONBUILD", "isn't allowed"), 2),
    Mistake("env-no-value", "FROM busybox\nENV A\n", ("ENV must have two arguments",), 2),
    Mistake("label-no-value", "FROM busybox\nLABEL A=1 B\n", ("can't find =", "B"), 2),
    Mistake("arg-bad", "FROM busybox\nARG\n", ("ARG requires",), 2),
    Mistake("from-arguments", "FROM busybox as\n", ("FROM requires either one or three arguments",), 1),
    Mistake("stage-name", "FROM busybox AS 1a\n", ("invalid name for build stage", "1a"), 1),
    Mistake("base-name-blank", "FROM $NO\n", ("base name", "should not be blank"), 1),
    Mistake("bad-substitution", "FROM busybox\nENV A=${b?}\n", ("is not allowed to be unset",), 2),
    Mistake("escape-twice", "# escape=x\nFROM busybox\n", ("invalid ESCAPE", "x"), 0),
    Mistake("cmd-on-volume", 'FROM busybox\nVOLUME [""]\n', ("VOLUME specified can not be an empty string",), 2),
    Mistake("user-empty", "FROM busybox\nUSER\n", ("USER requires exactly one argument",), 2),
    Mistake("workdir-empty", "FROM busybox\nWORKDIR\n", ("WORKDIR requires exactly one argument",), 2),
    Mistake("bad-mount", "FROM busybox\nRUN --mount=type=what,target=/x true\n", ("unsupported mount type", "what"), 2),
    Mistake(
        "bad-mount-field", "FROM busybox\nRUN --mount=type=cache,foo=1,target=/x true\n", ("unexpected key 'foo'",), 2
    ),
    Mistake("copy-onto-a-directory", "FROM busybox\nRUN mkdir /d/f -p\nCOPY f /d\n", (), 3, "echo 1 > f"),
    Mistake("copy-below-a-file", "FROM busybox\nRUN touch /f\nCOPY f /f/g\n", ("directory",), 3, "echo 1 > f"),
]
