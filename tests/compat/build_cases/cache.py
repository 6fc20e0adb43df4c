"""What misses the cache, and what does not."""

from __future__ import annotations

from .case import Case, Change

CACHE = [
    Case(
        "cache-of-files",
        "FROM busybox\nRUN echo a > /a\nCOPY f /f\nRUN cat /f > /b\nCOPY g /g\n",
        "echo 1 > f; echo 1 > g; echo 1 > other",
        changes=(
            Change("echo 2 > other"),
            Change("touch f"),
            Change("echo 2 > f"),
            Change("chmod 600 f"),
            Change("mv g g2; echo 1 > g; rm g2"),
            Change("chown 5:5 g"),
            Change("echo 1 > f; chmod 644 f"),
        ),
    ),
    Case(
        "cache-of-directories",
        "FROM busybox\nCOPY d /d\nRUN echo a > /a\n",
        "mkdir -p d/e; echo 1 > d/f; ln -s f d/l",
        changes=(
            Change("echo 2 > d/new"),
            Change("mv d/new d/renamed"),
            Change("ln -sfn e d/l"),
            Change("mkdir d/empty"),
        ),
    ),
    Case(
        "cache-of-args",
        "FROM busybox\nRUN echo a > /a\nARG A=1\nRUN echo b > /b\nRUN echo $A > /c\n",
        changes=(
            Change(options=("--build-arg", "A=1")),
            Change(options=("--build-arg", "A=2")),
            Change(options=("--build-arg", "HTTPS_PROXY=x")),
        ),
    ),
    Case(
        "cache-of-args-not-declared",
        "ARG B\nFROM busybox AS one\nRUN echo a > /a\nFROM busybox\nARG A\nCOPY --from=one /a /a\n",
        changes=(Change(options=("--build-arg", "B=2")), Change(options=("--build-arg", "A=2"))),
    ),
    Case(
        "cache-of-edits",
        "FROM busybox\nRUN echo a > /a\nENV X=1\nRUN echo b > /b\nLABEL l=1\nCOPY f /f\n",
        "echo 1 > f",
        changes=(
            Change("sed -i s/X=1/X=2/ Dockerfile"),
            Change("sed -i s/l=1/l=2/ Dockerfile"),
            Change("sed -i 's/^RUN echo b/#c\\n  run  echo b/' Dockerfile"),
            Change("sed -i 's/^ENV X/USER 0:3\\nENV X/' Dockerfile"),
            Change("sed -i 's/^USER 0:3/WORKDIR \\/w/' Dockerfile"),
        ),
    ),
    Case(
        "cache-of-stages",
        "FROM busybox AS one\nCOPY f /f\nRUN cp /f /g\nFROM busybox\nCOPY --from=one /g /g\nRUN echo x > /x\n",
        "echo 1 > f",
        changes=(Change("sed -i 's/cp .f .g/cp \\/f \\/g; : other/' Dockerfile"), Change("echo 2 > f")),
    ),
    Case(
        "cache-of-nothing",
        "FROM busybox\nRUN echo a > /a\nCOPY f /f\n",
        "echo 1 > f",
        changes=(Change(options=("--no-cache",)),),
    ),
    Case(
        "cache-of-chown",
        "FROM busybox\nCOPY --chown=5 f /f\nCOPY g* /g/\n",
        "echo 1 > f; echo 1 > g1",
        changes=(
            Change("sed -i s/chown=5/chown=6/ Dockerfile"),
            Change("echo 1 > g2"),
            Change("echo f > .dockerignore; echo Dockerfile >> .dockerignore; sed -i 's/ f / g1 /' Dockerfile"),
        ),
    ),
    Case(
        "cache-of-mounts",
        "FROM busybox\nRUN mkdir /ctx\nRUN --mount=target=/ctx cat /ctx/f > /f\n",
        "echo 1 > f; echo x > other; echo Dockerfile > .dockerignore",
        changes=(Change("touch f"), Change("echo 2 > f"), Change("echo 2 > other")),
    ),
]
