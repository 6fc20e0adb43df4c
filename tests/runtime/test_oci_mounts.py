"""Mounts of config.json: every option, propagation, where they may and may not go, and what refuses them."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from support.oci_bundles import v1_hierarchies

if TYPE_CHECKING:
    from pathlib import Path

    from support.oci_bundles import Bundle, Oci


# -- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "there", "missing"),
    [
        (["ro"], {"ro"}, {"rw"}),
        (["ro", "rw"], {"rw"}, {"ro"}),
        (["nosuid", "nodev", "noexec"], {"nosuid", "nodev", "noexec"}, set()),
        (["nosuid", "suid"], set(), {"nosuid"}),
        (["noatime"], {"noatime"}, {"relatime"}),
        (["strictatime"], set(), {"relatime", "noatime"}),
        (["norelatime"], {"relatime"}, {"noatime"}),
        (["noatime", "relatime"], {"relatime"}, {"noatime"}),
        (["nodiratime"], {"nodiratime", "relatime"}, set()),
        (["nosymfollow"], {"nosymfollow"}, set()),
    ],
)
def test_flags_of_a_bind_mount(
    oci: Oci, bundle: Bundle, directory: Path, options: list[str], there: set[str], missing: set[str]
) -> None:
    found = oci.mounts(bundle.mount("/data", directory, ["bind", *options]))["/data"].options
    assert there <= found
    assert not missing & found


@pytest.mark.parametrize("kind", ["bind", "none", ""])
def test_what_a_bind_mount_is_called(oci: Oci, bundle: Bundle, directory: Path, kind: str) -> None:
    assert oci.output(bundle.mount("/data", directory, type=kind), "cat /data/file") == "content\n"


def test_type_bind_alone(oci: Oci, bundle: Bundle, directory: Path) -> None:
    assert oci.output(bundle.mount("/data", directory, []), "cat /data/file") == "content\n"


def test_recursive_attributes(oci: Oci, bundle: Bundle, nested: Path) -> None:
    mounts = oci.mounts(bundle.mount("/data", nested, ["rbind", "ro"]))
    assert "ro" in mounts["/data"].options
    assert "rw" in mounts["/data/below"].options
    bundle.config["mounts"][-1]["options"] = ["rbind", "rro", "rnosuid", "rnoatime", "rnoexec", "rexec"]
    mounts = oci.mounts(bundle)
    for path in ("/data", "/data/below"):
        assert {"ro", "nosuid", "noatime"} <= mounts[path].options
        assert "noexec" not in mounts[path].options


@pytest.mark.parametrize(
    ("word", "rule"),
    [
        ("ratime", "relatime"),
        ("rnoatime", "noatime"),
        ("rstrictatime", ""),
        ("rnostrictatime", "relatime"),
        ("rrelatime", "relatime"),
        ("rnorelatime", "relatime"),
    ],
)
def test_rules_for_access_times_of_a_whole_tree(oci: Oci, bundle: Bundle, nested: Path, word: str, rule: str) -> None:
    mounts = oci.mounts(bundle.mount("/data", nested, ["rbind", word]))
    for path in ("/data", "/data/below"):
        assert {"noatime", "relatime"} & mounts[path].options == ({rule} if rule else set())


def test_bind_alone_leaves_out_what_is_below(oci: Oci, bundle: Bundle, nested: Path) -> None:
    assert "/data/below" not in oci.mounts(bundle.mount("/data", nested))


def test_a_later_entry_remounts(oci: Oci, bundle: Bundle, directory: Path) -> None:
    bundle.mount("/data", directory).mount("/data", options=["bind", "remount", "ro", "nosuid"], type="none")
    assert {"ro", "nosuid"} <= oci.mounts(bundle)["/data"].options
    bundle.mount("/tmp", options=["size=1m"], type="tmpfs")
    mounts = oci.mounts(bundle.mount("/tmp", options=["remount", "size=2m", "ro"], type="tmpfs"))
    assert {"size=2048k", "ro"} <= mounts["/tmp"].super_options


def test_a_relative_destination_and_source(oci: Oci, bundle: Bundle) -> None:
    (bundle.path / "beside").write_text("content\n")
    assert oci.output(bundle.mount("etc/beside", "beside"), "cat /etc/beside") == "content\n"


def test_a_file_over_a_file(oci: Oci, bundle: Bundle, directory: Path) -> None:
    (bundle.rootfs / "etc/file").write_text("of the image\n")
    assert oci.output(bundle.mount("/etc/file", directory / "file"), "cat /etc/file") == "content\n"
    assert (bundle.rootfs / "etc/file").read_text() == "of the image\n"


def test_options_of_a_file_system(oci: Oci, bundle: Bundle) -> None:
    options = ["nosuid", "", "size=1m", "mode=1700", "noatime"]
    mounts = oci.mounts(bundle.mount("/t", "name", options, type="tmpfs"))
    assert mounts["/t"].source == "name"
    assert {"size=1024k", "mode=1700"} <= mounts["/t"].super_options
    assert {"nosuid", "noatime"} <= mounts["/t"].options


def test_a_tmpfs_has_the_mode_of_the_directory_below(oci: Oci, bundle: Bundle) -> None:
    (bundle.rootfs / "kept").mkdir()
    (bundle.rootfs / "kept").chmod(0o1711)
    bundle.mount("/kept", options=[], type="tmpfs")
    assert oci.output(bundle, "stat -c %a /kept") == "1711\n"


@pytest.mark.parametrize("options", [[], ["tmpcopyup"]])
def test_a_tmpfs_that_covers_no_directory_is_everybodys(oci: Oci, bundle: Bundle, options: list[str]) -> None:
    bundle.mount("/made", options=options, type="tmpfs")
    bundle.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    assert oci.output(bundle, "stat -c %a /made && touch /made/file && echo written") == "1777\nwritten\n"


def test_a_destination_may_begin_with_the_path_of_the_root(oci: Oci, bundle: Bundle, directory: Path) -> None:
    (directory / "file").write_text("found")
    bundle.mount(f"{bundle.rootfs}/first", directory).mount("/second", f"{bundle.rootfs}/first")
    assert oci.output(bundle, "cat /first/file /second/file") == "foundfound"


def test_masked_directories_share_one_file_system(oci: Oci, bundle: Bundle) -> None:
    for name in ("one", "two"):
        (bundle.rootfs / name).mkdir()
        (bundle.rootfs / name / "file").touch()
    bundle.linux["maskedPaths"] = ["/one", "/two"]
    mounts = oci.mounts(bundle)
    assert mounts["/one"].device == mounts["/two"].device
    assert all("ro" in mounts[path].options for path in ("/one", "/two"))
    assert oci.output(bundle, "ls /one /two").split() == ["/one:", "/two:"]


@pytest.mark.parametrize("field", ["maskedPaths", "readonlyPaths"])
def test_a_path_that_is_listed_twice_is_covered_once(oci: Oci, bundle: Bundle, field: str) -> None:
    bundle.linux["maskedPaths"] = bundle.linux["readonlyPaths"] = []
    bundle.linux[field] = ["/proc/sys", "/proc/version", "/proc/sys", "/proc//version", "/proc/sys/"]
    lines = oci.output(bundle, "cat /proc/self/mountinfo").splitlines()
    paths = [line.split()[4] for line in lines]
    assert [paths.count(path) for path in ("/proc/sys", "/proc/version")] == [1, 1]


@pytest.mark.parametrize(("source", "destination"), [("file", "/etc"), ("", "/etc/passwd")])
def test_a_directory_is_no_place_for_a_file_nor_a_file_for_a_directory(
    oci: Oci, bundle: Bundle, directory: Path, source: str, destination: str
) -> None:
    """Engines find these words in the error, and add what the user may have confused."""
    assert "not a directory" in oci.refusal(bundle.mount(destination, directory / source))


def test_several_words_in_one_option(oci: Oci, bundle: Bundle) -> None:
    bundle.mount("/t", options=["uid=5,gid=6", "mode=0710"], type="tmpfs")
    assert oci.output(bundle, "stat -c '%u:%g %a' /t") == "5:6 710\n"


def test_a_source_that_is_missing_is_named_once(oci: Oci, bundle: Bundle) -> None:
    told = oci.refusal(bundle.mount("/here", "/not/there"))
    assert "cannot bind /not/there to /here: open_tree: no such file or directory" in told


def test_a_readonly_tmpfs_takes_mount_points_first(oci: Oci, bundle: Bundle, directory: Path) -> None:
    bundle.mount("/t", options=["ro"], type="tmpfs").mount("/t/sub/data", directory)
    bundle.config["mounts"][1]["options"].append("ro")  # /dev, in which devices are made after it was mounted
    assert oci.output(bundle, "cat /t/sub/data/file && ls /dev/null") == "content\n/dev/null\n"
    assert {"ro"} <= oci.mounts(bundle)["/t"].options & oci.mounts(bundle)["/dev"].options


def test_tmpcopyup(oci: Oci, bundle: Bundle) -> None:
    place = bundle.rootfs / "filled"
    (place / "sub").mkdir(parents=True)
    (place / "sub/file").write_text("content\n")
    (place / "link").symlink_to("/etc/passwd")
    os.mkfifo(place / "fifo")
    (place / "sub/file").chmod(0o4711)
    os.chown(place / "sub", 7, 8)
    os.setxattr(place / "sub/file", "trusted.note", b"kept")
    bundle.mount("/filled", options=["tmpcopyup", "ro"], type="tmpfs")
    script = "cd /filled; cat sub/file; stat -c '%a' sub/file; stat -c '%u:%g' sub; readlink link; stat -c %F fifo"
    assert oci.output(bundle, script).split() == ["content", "4711", "7:8", "/etc/passwd", "fifo"]
    assert {"ro"} <= oci.mounts(bundle)["/filled"].options


def test_other_file_systems_pass_through(oci: Oci, bundle: Bundle, directory: Path, scratch: Path) -> None:
    (scratch / ("x" * 200)).mkdir()
    lower = f"lowerdir={directory}:{scratch / ('x' * 200)}"
    mounts = oci.mounts(bundle.mount("/o", "overlay", [lower, "nosuid"], type="overlay"))
    assert mounts["/o"].fstype == "overlay"
    assert "nosuid" in mounts["/o"].options


def test_options_of_proc(oci: Oci, bundle: Bundle) -> None:
    bundle.config["mounts"][0]["options"] = ["hidepid=2", "subset=pid"]
    assert {"hidepid=invisible", "subset=pid"} <= oci.mounts(bundle)["/proc"].super_options


# -- propagation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "peers"),
    [
        (["rprivate"], set()),
        (["rslave"], {"master"}),
        (["rshared"], {"shared", "master"}),
        (["slave", "shared"], {"shared", "master"}),
        (["runbindable"], {"unbindable"}),
    ],
)
def test_propagation_of_a_mount(oci: Oci, bundle: Bundle, nested: Path, options: list[str], peers: set[str]) -> None:
    mounts = oci.mounts(bundle.mount("/data", nested, ["rbind", *options]))
    assert mounts["/data"].peers == peers


@pytest.mark.parametrize(
    ("propagation", "peers"),
    [("shared", {"shared"}), ("rslave", set()), ("private", set()), ("unbindable", {"unbindable"})],
)
def test_propagation_of_the_root(oci: Oci, bundle: Bundle, nested: Path, propagation: str, peers: set[str]) -> None:
    bundle.linux["rootfsPropagation"] = propagation
    mounts = oci.mounts(bundle.mount("/data", nested, ["rbind", "rshared"]))
    assert mounts["/"].peers == peers
    assert "shared" in mounts["/data"].peers


def test_a_shared_volume_shares_mounts_with_the_host(oci: Oci, bundle: Bundle, nested: Path) -> None:
    bundle.linux["rootfsPropagation"] = "shared"
    bundle.capabilities("CAP_SYS_ADMIN")
    before = mount_points()
    container = oci.create(bundle.mount("/data", nested, ["rbind", "rshared"]), "sleep 60")
    oci("start", container)
    assert mount_points() == before
    oci("exec", "--cap", "CAP_SYS_ADMIN", container, "mount", "-t", "tmpfs", "seen", "/data/below")
    assert mount_points() == sorted([*before, str(nested / "below")])
    subprocess.run(["umount", nested / "below"], check=True)


def mount_points() -> list[str]:
    with open("/proc/self/mountinfo") as lines:
        return sorted(line.split()[4] for line in lines)


# -- cgroup and sysfs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["ro", "rw"])
def test_the_cgroup_namespace_hides_the_hierarchy(oci: Oci, bundle: Bundle, mode: str) -> None:
    bundle.namespace("cgroup")
    bundle.config["mounts"][-1]["options"][-1] = mode
    mounts = [mount for path, mount in oci.mounts(bundle).items() if path.startswith("/sys/fs/cgroup")]
    hierarchies = [mount for mount in mounts if mount.fstype != "tmpfs"]
    assert {mount.fstype for mount in hierarchies} == {"cgroup" if v1_hierarchies() else "cgroup2"}
    assert {mount.root for mount in hierarchies} == {"/"}
    assert all(mode in mount.options for mount in hierarchies)
    processes = oci.output(bundle, "cd /sys/fs/cgroup; cat memory/cgroup.procs || cat cgroup.procs")
    assert processes.split()[0] == "1"


def test_a_file_of_a_cgroup_can_be_masked(oci: Oci, bundle: Bundle) -> None:
    """As Podman does with --systemd=always where v1 hierarchies are mounted."""
    file = f"/sys/fs/cgroup/{'memory/' if v1_hierarchies() else ''}cgroup.procs"
    bundle.linux["maskedPaths"] = [file]
    assert oci.output(bundle, f"wc -c < {file}") == "0\n"


@pytest.mark.skipif(bool(v1_hierarchies()), reason="v1 hierarchies each show the container's own part")
def test_without_one_the_hierarchy_is_the_hosts(oci: Oci, bundle: Bundle) -> None:
    output = oci.output(bundle.without_namespace("cgroup"), "grep :: /proc/self/cgroup; ls -d /sys/fs/cgroup/minirun")
    assert "/minirun/" in output
    assert "/sys/fs/cgroup/minirun" in output


@pytest.mark.parametrize(
    ("number", "options", "text"),
    [
        (7, {"source": "/does/not/exist"}, "/does/not/exist"),
        (7, {"source": "none", "type": "nosuchfs", "options": []}, "nosuchfs"),
        (7, {"source": "none", "type": "tmpfs", "options": ["sizes=1"]}, "sizes=1"),
    ],
)
def test_an_error_names_the_mount(oci: Oci, bundle: Bundle, number: int, options: dict[str, Any], text: str) -> None:
    said = oci.refusal(bundle.mount("/data", **options))
    assert f"mounts[{number}]" in said
    assert text in said


def test_an_unknown_root_propagation_is_refused(oci: Oci, bundle: Bundle) -> None:
    bundle.linux["rootfsPropagation"] = "sideways"
    assert "linux.rootfsPropagation 'sideways'" in oci.refusal(bundle)
