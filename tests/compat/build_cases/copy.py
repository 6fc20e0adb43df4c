"""COPY, and what .dockerignore leaves out."""

from __future__ import annotations

from .case import Case

_TREE = "mkdir -p d/sub d/empty; echo 1 > d/a.txt; echo 2 > d/b.md; echo 3 > d/sub/c.txt; echo 4 > top.txt"

COPY = [
    Case(
        "copy-files",
        'FROM scratch\nCOPY top.txt /\nCOPY top.txt /new/name\nCOPY top.txt d/a.txt /dir/\nCOPY ["top.txt", "/with space"]\nCOPY top.txt relative\n',
        _TREE,
    ),
    Case(
        "copy-directories",
        "FROM scratch\nCOPY d /x\nCOPY d/ /y/\nCOPY d /x/y/\nCOPY d/sub /z\nCOPY . /all\nCOPY d/. /dot\n",
        _TREE,
    ),
    Case(
        "copy-into-directories",
        "FROM busybox\nRUN mkdir -m 700 /there && chown 3:4 /there && touch -d @1000000000 /there\nCOPY top.txt /there\nCOPY d /there\nCOPY top.txt /there/new/\nCOPY d/sub/ /there/sub2/\n",
        _TREE,
    ),
    Case(
        "copy-wildcards",
        "FROM scratch\nCOPY d/*.txt /t/\nCOPY *.txt /\nCOPY d/?.md /q/\nCOPY d/[a-b]* /r/\nCOPY d/* /all/\nCOPY */sub/* /s/\nCOPY t*p.[!a]xt /n/\n",
        _TREE,
    ),
    Case(
        "copy-modes",
        "FROM scratch\nCOPY . /\n",
        "mkdir -m 700 p; mkdir -m 2775 g; echo 1 > p/x; chmod 4711 p/x; echo 2 > w; chmod 666 w; echo 3 > g/r; chmod 400 g/r; chown 3:4 w; mkdir -m 1777 t",
    ),
    Case(
        "copy-replaces",
        "FROM busybox\nRUN mkdir -p /r/d && echo old > /r/f && chmod 600 /r/f && chown 3:4 /r/f /r/d && ln -s f /r/l && chmod 750 /r/d\nCOPY c /r\n",
        "mkdir -p c/d; echo new > c/f; echo l > c/l; echo n > c/d/n",
    ),
    Case(
        "copy-chown-numbers",
        "FROM busybox\nCOPY --chown=5:6 d /n/d\nCOPY --chown=7 d /m\nCOPY --chown=0:9 top.txt /o\n",
        _TREE,
    ),
    Case(
        "copy-chown-names",
        "FROM busybox\nCOPY --chown=user:root d /a\nCOPY --chown=user top.txt /b/c\nCOPY --chown=root:user top.txt /d\nCOPY --chown=user:77 top.txt /e\nENV W=user\nCOPY --chown=$W:${W} top.txt /f\n",
        _TREE,
    ),
    Case(
        "copy-chown-made-in-the-stage",
        "FROM busybox\nRUN echo 'new:x:1234:4321::/:' >> /etc/passwd && echo 'newg:x:99:' >> /etc/group\nCOPY --chown=new:newg top.txt /a\nCOPY --chown=new top.txt /b\n",
        _TREE,
    ),
    Case(
        "copy-chmod",
        "FROM busybox\nCOPY --chmod=751 d /n/d\nCOPY --chmod=755 top.txt /o\nCOPY --chmod=0600 --chown=3:4 top.txt /p/q\n",
        _TREE,
    ),
    Case(
        "copy-sources-that-are-links",
        "FROM scratch\nCOPY flink /f\nCOPY dlink /d\nCOPY dlink/ /e/\nCOPY dlink/sub /s\nCOPY abs /abs\nCOPY up /up\n",
        _TREE + "; ln -s top.txt flink; ln -s d dlink; ln -s /top.txt abs; ln -s ../../../top.txt up",
    ),
    Case(
        "copy-links-inside",
        "FROM scratch\nCOPY l /l\nCOPY l/o* l/d* /m/\n",
        "mkdir -p l/sub; ln -s nowhere l/missing; ln -s /etc/passwd l/abs; ln -s ../../up l/up; ln -s sub l/dir; echo 1 > l/one; ln l/one l/two; ln l/one l/sub/three",
    ),
    Case(
        "copy-to-links",
        "FROM busybox\nRUN mkdir /real && ln -s /real /link && ln -s real/file /flink && echo old > /real/file && ln -s missing /dangling && ln -s ../../.. /real/up\nCOPY top.txt /link/\nCOPY d /link\nCOPY top.txt /link/new/t\nCOPY top.txt /real/up/u\n",
        _TREE,
    ),
    Case(
        "copy-onto-a-link-to-a-file",
        "FROM busybox\nRUN mkdir /real && ln -s real/file /flink && echo old > /real/file\nCOPY top.txt /flink\n",
        _TREE,
    ),
    Case(
        "copy-onto-a-dangling-link",
        "FROM busybox\nRUN ln -s missing /dangling\nCOPY top.txt /dangling\nCOPY d /dangling2/\n",
        _TREE,
    ),
    Case("copy-twice", "FROM scratch\nCOPY d /d\nCOPY d/a.txt d/b.md /d/\nCOPY d/b.md /d/a.txt\n", _TREE),
    Case(
        "copy-relative",
        "FROM busybox\nWORKDIR /w/x\nCOPY top.txt .\nCOPY d ../y\nCOPY top.txt ../../t/\nCOPY ../top.txt /outside\nCOPY /top.txt ./rooted\n",
        _TREE,
    ),
    Case(
        "copy-odd-names",
        'FROM scratch\nCOPY ["a b", "/c d/"]\nCOPY x\\[1\\] /bracket\nCOPY .wh /\nCOPY n /n\n',
        "echo 1 > 'a b'; echo 2 > 'x[1]'; mkdir .wh; echo 3 > .wh/x; mkdir n; echo u > 'n/\u00e4\u00f6'; echo b > 'n/back\\slash'; echo - > n/-dash; echo q > \"n/quo'te\\\"\"; echo 4 > \"n/$(printf 'new\\nline')\"",
    ),
    Case("copy-sparse", "FROM scratch\nCOPY s /\n", "truncate -s 3M s; echo end >> s"),
    Case(
        "copy-xattrs",
        "FROM scratch\nCOPY x d /\n",
        "echo 1 > x; setfattr -n user.note -v kept x; mkdir d; setfattr -n user.dir -v d d; cp /bin/true d/cap; setcap cap_net_raw+ep d/cap",
    ),
    Case("copy-empty", "FROM scratch\nCOPY e /e\nCOPY f /f\n", "mkdir -m 711 e; : > f"),
    Case(
        "copy-env-names",
        "FROM busybox\nENV S=top.txt D=/dest\nARG A=d\nCOPY $S ${D}/\nCOPY ${A}/*.txt $D/\nADD $A/sub $D/$A\n",
        _TREE,
    ),
    Case(
        "dockerignore",
        "FROM scratch\nCOPY . /\n",
        _TREE
        + "; mkdir -p keep/me node/x; echo 1 > keep/me/log.log; echo 2 > keep/x.log; echo 3 > node/x/y; echo 4 > 'sp ace'; "
        "printf '# comment\\n\\n  **/*.log  \\n!keep/me/*.log\\n/node\\nd/*.txt\\n!d/a.txt\\n*/su?\\nDockerfile\\n.dockerignore\\nsp*\\n' > .dockerignore",
    ),
    Case(
        "dockerignore-exceptions",
        "FROM scratch\nCOPY . /a\nCOPY d /b\nCOPY d/sub/ /c/\n",
        _TREE + "; printf '*\\n!d\\nd/**\\n!d/sub/c.txt\\n!**/b.md\\n' > .dockerignore",
    ),
    Case(
        "dockerignore-wildcard-copy",
        "FROM scratch\nCOPY d/* /a/\nCOPY *.txt /b/\n",
        _TREE + "; echo 9 > other.txt; printf 'd/a*\\ntop.*\\n**/sub\\n' > .dockerignore",
    ),
    Case(
        "dockerfile-of-its-own-ignore",
        "FROM scratch\nCOPY . /\n",
        _TREE + "; mv Dockerfile other; printf 'd\\n' > other.dockerignore; printf 'top.txt\\n' > .dockerignore",
        options=("-f", "{context}/other"),
    )._replace(name="own-dockerignore"),
]
