"""ADD: archives."""

from __future__ import annotations

from .case import Case

_TAR = (
    "mkdir -p t/sub; echo 1 > t/a; ln -s a t/l; ln t/a t/h; chmod 4711 t/a; mkdir -m 700 t/p; echo 2 > t/sub/b; chown 3:4 t/sub t/sub/b; "
    "find t -exec touch -h -d @1100000000 {} +; "
)

ADD = [
    Case("add-files", "FROM scratch\nADD a /\nADD d /d\nADD d/*.x /x/\n", "echo 1 > a; mkdir d; echo 2 > d/y.x"),
    Case(
        "add-tar",
        "FROM scratch\nADD t.tar /x\nADD t.tar /y/\nCOPY t.tar /whole/\n",
        _TAR + "tar -cf t.tar -C t .; rm -r t",
    ),
    Case("add-tar-gz", "FROM scratch\nADD t.tgz /x/\n", _TAR + "tar -czf t.tgz t; rm -r t"),
    Case("add-tar-bz2", "FROM scratch\nADD t.tar.bz2 /x\n", _TAR + "tar -cjf t.tar.bz2 t; rm -r t"),
    Case("add-tar-xz", "FROM scratch\nADD t.any /x\n", _TAR + "tar -cJf t.any t; rm -r t"),
    Case(
        "add-tar-onto",
        "FROM busybox\nRUN mkdir -p /x/t/sub && echo old > /x/t/a && echo kept > /x/t/sub/kept && chmod 711 /x && chown 9:9 /x/t\nADD t.tar /x/\n",
        _TAR + "tar -cf t.tar t; rm -r t",
    ),
    Case(
        "add-gzip-that-is-no-tar",
        "FROM scratch\nADD f.gz /\nADD f.txt.tar /\n",
        "echo hello | gzip -n > f.gz; echo no tar > f.txt.tar",
    ),
    Case(
        "add-two-archives",
        "FROM scratch\nADD *.tar /x/\n",
        "echo 1 > a; echo 2 > b; tar -cf a.tar a; tar -cf b.tar b; rm a b",
    ),
    Case(
        "add-tar-with-whiteout-names",
        "FROM busybox\nRUN mkdir /x && echo 1 > /x/gone\nADD t.tar /x/\n",
        "echo 2 > f; tar -cf t.tar f; rm f",
    ),
]
