"""Mounts of config.json: every option, propagation, where they may and may not go, and what refuses them."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from oci_bundles import v1_hierarchies

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from oci_bundles import Bundle, Oci


@pytest.fixture
def directory(scratch: Path) -> Path:
    """Return a directory of the host with a file in it."""
    path = scratch / "data"
    path.mkdir()
    (path / "file").write_text("content\n")
    return path


@pytest.fixture
def nested(directory: Path) -> Iterator[Path]:
    """Return a directory of the host, mounted and shared, with a further mount at `below`."""
    subprocess.run(["mount", "--bind", directory, directory], check=True)
    subprocess.run(["mount", "--make-shared", directory], check=True)
    (directory / "below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "below", directory / "below"], check=True)
    yield directory
    subprocess.run(["umount", "--recursive", directory], check=True)


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


# -- id mapping ------------------------------------------------------------------------------------------------------


def test_a_mount_with_its_own_mapping(oci: Oci, bundle: Bundle, directory: Path) -> None:
    mapping: dict[str, Any] = {
        field: [{"containerID": 0, "hostID": host, "size": 10}]
        for field, host in (("uidMappings", 5000), ("gidMappings", 6000))
    }
    bundle.mount("/data", directory, ["rbind"], **mapping)
    assert oci.output(bundle, "stat -c %u:%g /data/file") == "5000:6000\n"


def test_a_mount_with_the_mapping_of_the_container(oci: Oci, bundle: Bundle, directory: Path) -> None:
    bundle.map_users().mount("/data", directory, ["rbind", "idmap"]).mount("/plain", directory, ["rbind"])
    script = "stat -c %u:%g /data/file /plain/file && touch /data/made"
    assert oci.output(bundle, script).split() == ["0:0", "65534:65534"]
    assert os.stat(directory / "made").st_uid == 0


def test_ridmap_maps_what_is_below_too(oci: Oci, bundle: Bundle, nested: Path) -> None:
    (nested / "below/file").touch()
    bundle.map_users().mount("/some", nested, ["rbind", "idmap"]).mount("/all", nested, ["rbind", "ridmap"])
    assert oci.output(bundle, "stat -c %u /some/below/file /all/below/file").split() == ["65534", "0"]


def test_mappings_that_cannot_be_meant(oci: Oci, bundle: Bundle, directory: Path) -> None:
    bundle.mount("/data", directory, ["bind", "idmap"])
    assert "idmap needs uidMappings" in oci.refusal(bundle)
    bundle.config["mounts"][-1] |= {"uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}
    assert "both" in oci.refusal(bundle)
    bundle.config["mounts"][-1] |= {"gidMappings": [], "type": "tmpfs", "options": []}
    assert "only bind mounts" in oci.refusal(bundle)


@pytest.mark.parametrize(
    ("option", "owner"),
    [
        ("idmap=uids=0-5000-10;gids=0-6000-10", "5000:6000"),
        ("idmap=gids=0-6000-10;uids=3-9-2#0-5000-1", "5000:6000"),
        ("ridmap=uids=0-5000-10;gids=0-6000-10", "5000:6000"),
    ],
)
def test_a_mapping_among_the_options(oci: Oci, bundle: Bundle, directory: Path, option: str, owner: str) -> None:
    bundle.mount("/data", directory, ["rbind", option])
    assert oci.output(bundle, "stat -c %u:%g /data/file").strip() == owner


def test_a_mapping_to_ids_of_the_container(oci: Oci, bundle: Bundle, directory: Path) -> None:
    bundle.map_users().mount("/data", directory, ["rbind", "idmap=uids=@0-7-1;gids=@0-8-1"])
    assert oci.output(bundle, "stat -c %u:%g /data/file") == "7:8\n"


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("idmap=uids=0-1-1", "both"),
        ("idmap=0-1-1", "is not idmap=uids=...;gids=..."),
        ("idmap=uids=0-1;gids=0-1-1", "'0-1', which is not DISK-HOST-SIZE"),
        ("idmap=uids=@0-1-1;gids=0-1-1", "1 is not mapped in the container"),
    ],
)
def test_a_mapping_of_another_form_is_refused(
    oci: Oci, bundle: Bundle, directory: Path, option: str, words: str
) -> None:
    assert words in oci.refusal(bundle.mount("/data", directory, ["rbind", option]))


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


@pytest.mark.skipif(bool(v1_hierarchies()), reason="v1 hierarchies show each its own part")
def test_without_one_the_hierarchy_is_the_hosts(oci: Oci, bundle: Bundle) -> None:
    output = oci.output(bundle.without_namespace("cgroup"), "grep :: /proc/self/cgroup; ls -d /sys/fs/cgroup/minirun")
    assert "/minirun/" in output
    assert "/sys/fs/cgroup/minirun" in output


# -- where mounts go -------------------------------------------------------------------------------------------------


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


def test_a_directory_over_a_file_is_refused(oci: Oci, bundle: Bundle, directory: Path) -> None:
    (bundle.rootfs / "taken").touch()
    assert "mounts[7]" in oci.refusal(bundle.mount("/taken", directory))


def test_an_unknown_root_propagation_is_refused(oci: Oci, bundle: Bundle) -> None:
    bundle.linux["rootfsPropagation"] = "sideways"
    assert "linux.rootfsPropagation 'sideways'" in oci.refusal(bundle)
