"""RUN, and what it leaves in the layer."""

from __future__ import annotations

from .case import Case

RUN = [
    Case(
        "run-forms",
        'FROM busybox\nRUN echo shell $HOME > /a\nRUN ["/bin/sh", "-c", "echo exec $0 > /b", "x y"]\nRUN ["touch", "$HOME"]\nRUN cd / && \\\n    pwd > /c\n',
    ),
    Case(
        "run-deletes",
        "FROM busybox\nRUN mkdir -p /d/e && echo 1 > /d/f && echo 2 > /d/e/g && echo 3 > /h\nRUN rm -r /d/e /h\nRUN mkdir /d/e && echo 4 > /h\nRUN rm -r /d && mkdir /d && echo 5 > /d/n\n",
    ),
    Case(
        "run-changes-types",
        "FROM busybox\nRUN mkdir /a /b && echo 1 > /a/f && echo 2 > /c && ln -s c /l\nRUN rm -r /a && echo file > /a && rm /c && mkdir /c && echo 3 > /c/x && rm /l && mkdir /l\nRUN rm -r /l && ln -s b /l\n",
    ),
    Case(
        "run-metadata",
        "FROM busybox\nRUN echo 1 > /f && mkdir /d && echo 2 > /d/x\nRUN chmod 4750 /f && chown 3:4 /d && touch -d @1000000000 /d/x && chmod 1777 /d\nRUN ln /f /g && mv /d/x /d/y\n",
    ),
    Case(
        "run-special-files",
        "FROM busybox\nRUN mkfifo /p && mknod /n c 1 3 && mknod /b b 7 1 && chmod 2755 /bin && ln -s nowhere /l\n",
    ),
    Case("run-empty-layer", "FROM busybox\nRUN true\nRUN :\n"),
    Case(
        "run-environment",
        "FROM busybox\nENV A=1\nARG B=2\nUSER 5\nWORKDIR /tmp\nRUN env | grep -v -e ^HOSTNAME -e ^SHLVL | sort > env; pwd > pwd; umask > umask; id -G > groups; hostname > hostname; ulimit -n > /dev/null\n",
    ),
    Case("run-reads-nothing", "FROM busybox\nRUN cat > /f; test -t 1 || echo no terminal > /g\n"),
    Case(
        "run-etc-files",
        "FROM busybox\nRUN cp /etc/resolv.conf /r 2> /dev/null; rm -f /r; echo changed >> /etc/hosts || true; ls / > /l; ls -a /proc/1/cwd > /c\n",
    ),
    Case("run-capabilities", "FROM busybox\nRUN grep -e Cap -e NoNew -e Seccomp: /proc/self/status > /f\n"),
    Case(
        "run-hidden-names",
        "FROM busybox\nRUN mkdir /d && echo 1 > /d/.wh && echo 2 > /d/wh.x && mkdir /d/..x && echo 3 > '/d/ '\n",
    ),
    Case(
        "run-mount-bind",
        "FROM busybox AS a\nRUN echo made > /made\nFROM busybox\nRUN mkdir -p /ctx /new/dir && touch /m\nRUN --mount=target=/ctx cp /ctx/f /f && ls /ctx > /l\nRUN --mount=type=bind,from=a,source=/made,target=/m cp /m /copied\nRUN --mount=type=bind,target=/new/dir,rw touch /new/dir/x\n",
        "echo x > f",
    ),
    Case(
        "run-mount-cache",
        "FROM busybox AS other\nFROM busybox\nRUN mkdir /c /other\nRUN --mount=type=cache,target=/c,id=compat-1 echo 1 > /c/f; ls -ld /c | cut -c1-10 > /s\nRUN --mount=type=cache,target=/other,id=compat-1 cat /other/f > /got\nRUN --mount=type=cache,target=/c,id=compat-2,uid=5,gid=6,mode=750 stat -c '%a %u %g' /c > /t\n",
    ),
    Case(
        "run-mount-tmpfs",
        "FROM busybox\nRUN mkdir /t\nRUN --mount=type=tmpfs,target=/t echo 1 > /t/f; grep ' /t ' /proc/mounts | cut -d' ' -f3 > /k\n",
    ),
    Case(
        "run-mount-secret",
        "FROM busybox\nRUN mkdir -p /run/secrets && touch /run/secrets/s /etc/sec\nRUN --mount=type=secret,id=s cat /run/secrets/s > /a; stat -c '%a %u %g' /run/secrets/s >> /a\nRUN --mount=type=secret,id=s,target=/etc/sec,mode=0444,uid=3 stat -c '%a %u' /etc/sec > /b\nRUN --mount=type=secret,id=none ls -s /run/secrets > /c\n",
        "echo token > /tmp/compat-secret",
        options=("--secret", "id=s,src=/tmp/compat-secret"),
    ),
    Case("run-long", "FROM busybox\nRUN : " + "x" * 1000 + " && echo 1 > /f\n"),
]
