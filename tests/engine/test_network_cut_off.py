"""A bridge was deleted, and the host now routes its subnet elsewhere: the containers that run on it are named."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.commands import Minirun

OTHER_ROUTE = "ip link delete minirun0; ip route add blackhole"


def address_of(minirun: Minirun, name: str) -> str:
    address: str = minirun.inspect(name)["NetworkSettings"]["IPAddress"]
    return address


def test_who_is_cut_off_is_told_of_and_restarting_helps(minirun: Minirun, busybox_image: str) -> None:
    for name in ("one", "two"):
        minirun("run", "-d", "--name", name, "--stop-timeout=0", busybox_image, "sleep", "1000")
    minirun("run", "-d", "--name=apart", "--network=none", busybox_image, "sleep", "1000")
    old = address_of(minirun, "one")
    subnet = f"{old.rsplit('.', 2)[0]}.0.0/16"
    try:
        subprocess.run(["sh", "-euc", f"{OTHER_ROUTE} {subnet}"], check=True)
        said = minirun("exec", "one", "true").stderr
        assert said.count("cut off") == 1
        assert "one, two. " in said
        assert "'minirun restart one two'" in said
        assert "minirun0" not in subprocess.run(["ip", "link"], check=True, capture_output=True, text=True).stdout
        assert minirun("exec", "apart", "true").stderr == ""

        assert "one, two. " in minirun("run", "--rm", busybox_image, "true").stderr, "still routed elsewhere"
        assert "minirun restart two" in minirun("restart", "one").stderr
        assert not address_of(minirun, "one").startswith(old.rsplit(".", 2)[0])
        minirun("restart", "two")
        assert minirun("exec", "one", "ping", "-c1", "-w5", address_of(minirun, "two")).stderr == ""
    finally:
        subprocess.run(["ip", "route", "delete", "blackhole", subnet], check=False)
        minirun("rm", "--force", "one", "two", "apart")
