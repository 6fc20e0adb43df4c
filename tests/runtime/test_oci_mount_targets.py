"""Where mounts go, through which links, and what takes the place of the root."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from support.oci_bundles import Bundle, Oci


def test_links_are_followed_inside_the_root(oci: Oci, bundle: Bundle, directory: Path) -> None:
    (bundle.rootfs / "absolute").symlink_to("/etc")
    (bundle.rootfs / "up").symlink_to("../../../../../../etc")
    bundle.mount("/absolute/a", directory).mount("/up/b", directory)
    assert oci.output(bundle, "cat /etc/a/file /etc/b/file") == "content\ncontent\n"


def test_links_that_lead_nowhere_yet(oci: Oci, bundle: Bundle, directory: Path) -> None:
    (bundle.rootfs / "var").mkdir(exist_ok=True)
    (bundle.rootfs / "var/run").symlink_to("/not/yet")
    (bundle.rootfs / "name").symlink_to("../../made/file")
    bundle.mount("/var/run/secrets", directory).mount("/name", directory / "file")
    assert oci.output(bundle, "cat /not/yet/secrets/file /made/file") == "content\ncontent\n"
    assert not os.path.lexists("/not")


def test_a_link_to_itself(oci: Oci, bundle: Bundle, directory: Path) -> None:
    (bundle.rootfs / "loop").symlink_to("loop")
    assert "mounts[7]" in (said := oci.refusal(bundle.mount("/loop/data", directory)))
    assert "too many levels of symbolic links" in said.lower()


@pytest.mark.parametrize("destination", ["/loop-to-root", "/tmp/../loop-to-root/."])
def test_no_link_leads_a_mount_over_the_root(oci: Oci, bundle: Bundle, directory: Path, destination: str) -> None:
    (bundle.rootfs / "loop-to-root").symlink_to("/")
    assert "cannot be mounted over" in oci.refusal(bundle.mount(destination, directory))


@pytest.mark.parametrize(("kind", "options"), [("proc", []), ("overlay", []), ("bind", ["remount", "bind", "ro"])])
def test_not_everything_can_be_the_root(oci: Oci, bundle: Bundle, kind: str, options: list[str]) -> None:
    bundle.mount("/", "/", options, type=kind)
    assert "only a bind mount or a tmpfs can take the place of the root" in oci.refusal(bundle)


@pytest.mark.parametrize("destination", ["/", "//", "/.."])
@pytest.mark.parametrize("userns", [False, True])
def test_another_directory_as_root(oci: Oci, bundle: Bundle, scratch: Path, destination: str, *, userns: bool) -> None:
    if userns:
        bundle.map_users()
    other = scratch / "other"
    shutil.copytree(bundle.rootfs, other, symlinks=True)
    if userns:
        subprocess.run(["chown", "-R", "100000:100000", other], check=True)
    (other / "mark").write_text("other\n")
    others = bundle.config["mounts"]
    bundle.config["mounts"] = []
    bundle.mount(destination, other, ["rbind"]).config["mounts"] += others
    bundle.config["root"]["readonly"] = True
    script = "cat /mark; touch /made || echo read-only; ls /proc/1/ns > /dev/null; echo x > /dev/null; ls /.."
    shown = oci.output(bundle, script).split()
    assert shown[:2] == ["other", "read-only"]
    assert "mark" in shown[2:]
    assert not (bundle.rootfs / "mark").exists()


def test_a_root_in_memory(oci: Oci, bundle: Bundle) -> None:
    others = bundle.config["mounts"]
    bundle.config["mounts"] = []
    bundle.mount("/", "tmpfs", ["tmpcopyup"], type="tmpfs").config["mounts"] += others
    bundle.config["root"]["readonly"] = False
    assert oci.output(bundle, "touch /made; ls /made; stat -f -c %T /") == "/made\ntmpfs\n"
    assert not (bundle.rootfs / "made").exists()


def test_a_root_in_memory_takes_no_copy_of_other_mounts(oci: Oci, bundle: Bundle) -> None:
    bundle.mount("/", "tmpfs", ["tmpcopyup"], type="tmpfs")
    assert "tmpcopyup on / must be the first mount" in oci.refusal(bundle)
    bundle.config["mounts"][-1]["destination"] = str(bundle.rootfs)  # some callers write the host's path
    assert "tmpcopyup on / must be the first mount" in oci.refusal(bundle)


@pytest.mark.parametrize("userns", [False, True])
def test_a_source_that_is_a_link_can_be_mounted_itself(
    oci: Oci, bundle: Bundle, directory: Path, *, userns: bool
) -> None:
    (directory / "link").symlink_to("file")
    (bundle.rootfs / "link").symlink_to("nowhere")
    if userns:
        bundle.map_users()
    bundle.mount("/link", directory / "link", ["bind", "src-nofollow", "dest-nofollow"])
    bundle.mount("/new/link", directory / "link", ["bind", "src-nofollow"])
    assert oci.output(bundle, "readlink /link; readlink /new/link").split() == ["file", "file"]
    assert os.readlink(bundle.rootfs / "link") == "nowhere"


def test_a_destination_that_is_a_link_can_be_covered_itself(oci: Oci, bundle: Bundle, directory: Path) -> None:
    (bundle.rootfs / "link").symlink_to("nowhere")
    bundle.mount("/link", directory / "file", ["bind", "dest-nofollow"])
    bundle.mount("/plain", directory / "file", ["bind", "dest-nofollow"])
    assert oci.output(bundle, "cat /link /plain; test ! -e /nowhere") == "content\ncontent\n"


def test_a_link_is_copied(oci: Oci, bundle: Bundle, directory: Path) -> None:
    (directory / "link").symlink_to("nowhere/at/all")
    bundle.mount("/a/link", directory / "link", ["bind", "copy-symlink"])
    bundle.mount("/a/file", directory / "file", ["bind", "copy-symlink"])
    for _ in range(2):  # the second time it is there
        assert oci.output(bundle, "readlink /a/link; cat /a/file") == "nowhere/at/all\ncontent\n"
    (bundle.rootfs / "a/link").unlink()
    (bundle.rootfs / "a/link").touch()
    assert "is not the symbolic link to nowhere/at/all" in oci.refusal(bundle)


def test_options_for_links_are_for_bind_mounts(oci: Oci, bundle: Bundle) -> None:
    bundle.mount("/data", "tmpfs", ["copy-symlink"], type="tmpfs")
    assert "copy-symlink is for bind mounts only" in oci.refusal(bundle)


@pytest.mark.parametrize("name", ["cpuinfo", "meminfo", "stat", "uptime", "loadavg", "swaps", "diskstats"])
def test_lxcfs_may_replace_files_of_proc(oci: Oci, bundle: Bundle, directory: Path, name: str) -> None:
    assert oci.output(bundle.mount(f"/proc/{name}", directory / "file"), f"cat /proc/{name}") == "content\n"


def test_a_directory_over_a_file_is_refused(oci: Oci, bundle: Bundle, directory: Path) -> None:
    (bundle.rootfs / "taken").touch()
    assert "mounts[7]" in oci.refusal(bundle.mount("/taken", directory))
