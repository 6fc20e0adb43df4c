"""The commands for images, as a user types them."""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.eventually import eventually
from support.image_archives import config, digest, docker_archive, entry, files, oci_layout, tar, write_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.commands import Minirun
    from tests.support.terminal import Terminal

LAYER = files({"etc/os": b"base"})
TOP = files({"etc/os": b"top"})
ID = digest(config([LAYER, TOP]))


@pytest.fixture
def clean(minirun: Minirun) -> Iterator[None]:
    """Whatever a test loads is removed after it; images that other tests share stay."""
    before = set(minirun("images", "-q", "--no-trunc").stdout.split())
    yield
    for image in set(minirun("images", "-q", "--no-trunc").stdout.split()) - before:
        minirun("rmi", "-f", image)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "archive.tar"
    path.write_bytes(files(docker_archive([LAYER, TOP], "app:1", "other/app:2")))
    return path


pytestmark = pytest.mark.usefixtures("clean")


def test_load_names_what_it_has_loaded(minirun: Minirun, archive: Path, tmp_path: Path) -> None:
    names = "Loaded image: app:1\nLoaded image: other/app:2\n"
    assert minirun("load", "-i", archive).stdout == names
    assert minirun("load", input=archive.read_bytes()).stdout == names
    assert minirun("image", "load", "--input", archive).stdout == names
    directory = write_directory(oci_layout([LAYER]), tmp_path / "directory")
    assert minirun("load", "-i", directory).stdout == f"Loaded image ID: {digest(config([LAYER]))}\n"


def test_a_bad_archive_ends_with_1_and_one_sentence(minirun: Minirun, archive: Path) -> None:
    before = minirun("images", "-q").stdout
    for arguments, data in (
        (["load", "-i", "/nowhere"], b""),
        (["load"], b""),
        (["load"], archive.read_bytes()[:2000]),
        (["load"], os.urandom(5000)),
        (["import", "-"], archive.read_bytes()[:700]),
        (["import", "/nowhere"], b""),
        (["import", "-c", "RUN x", "-"], LAYER),
        (["import", "-", "BAD"], LAYER),
    ):
        done = minirun(*arguments, input=data, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert re.fullmatch(r"minirun: [^\n]+\.\n(hint: [^\n]+\n)?", done.stderr)
    assert minirun("images", "-q").stdout == before


def test_images_as_docker_lists_them(minirun: Minirun, archive: Path) -> None:
    minirun("load", "-i", archive)
    header, *lines = minirun("images", "app").stdout.splitlines()
    assert header.split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    [line] = lines
    assert re.fullmatch(rf"app +1 +{ID[7:19]} +\d+ (months|years) ago +7B", line)
    assert minirun("images", "-q", "app:1").stdout == f"{ID[7:19]}\n"
    assert minirun("images", "-q", "--no-trunc", "app").stdout == f"{ID}\n"
    assert minirun("images", "app:9").stdout.count("\n") == 1
    assert "<none>" in minirun("images", "--digests", "app").stdout
    assert minirun("images", "--format", "{{.Repository}}:{{.Tag}} {{.Size}}", "other/app").stdout == "other/app:2 7B\n"
    row = json.loads(minirun("image", "ls", "--format", "json", "app").stdout)
    assert (row["Repository"], row["Tag"], row["ID"]) == ("app", "1", ID[7:19])


def test_filters(minirun: Minirun, archive: Path) -> None:
    minirun("load", "-i", archive)
    labelled = files(docker_archive([TOP], "labelled", Labels={"a": "b"}))
    minirun("load", input=labelled)

    def found(*filters: str) -> set[str]:
        options = [f"--filter={text}" for text in filters]
        return set(minirun("images", "--format", "{{.Repository}}", *options).stdout.split()) & {
            "app",
            "other/app",
            "labelled",
            "<none>",
        }

    assert found("reference=app") == {"app"}
    assert found("reference=*/app:2") == {"other/app"}
    assert found("reference=a*", "reference=l*") == {"app", "labelled"}
    assert found("label=a") == found("label=a=b") == {"labelled"}
    assert found("label=a=c") == set()
    minirun("load", input=files(docker_archive([LAYER], "labelled")))
    assert found("dangling=true") == {"<none>"}
    done = minirun("images", "--filter", "nope=1", check=False)
    assert done.returncode == 1
    assert "invalid filter" in done.stderr


def test_import_makes_an_image_with_a_config(minirun: Minirun, tmp_path: Path) -> None:
    root = tar(entry("bin/tool", b"#!", mode=0o4755, uid=5), entry("etc/x", b"x"))
    (tmp_path / "root.tar").write_bytes(root)
    changes = ["-c", 'CMD ["/bin/tool", "a b"]', "--change", "ENV A=b", "-c", "EXPOSE 80", "-c", "USER me"]
    done = minirun("import", *changes, "-m", "by hand", tmp_path / "root.tar", "made:1")
    image_id = done.stdout.strip()
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", image_id)
    [found] = json.loads(minirun("image", "inspect", "made:1").stdout)
    assert (found["Id"], found["RepoTags"], found["Comment"]) == (image_id, ["made:1"], "by hand")
    assert {key: value for key, value in found["Config"].items() if value} == {
        "Cmd": ["/bin/tool", "a b"],
        "Env": ["A=b"],
        "ExposedPorts": {"80/tcp": {}},
        "User": "me",
    }
    assert found["RootFS"] == {"Type": "layers", "Layers": [digest(root)]}
    tool = os.stat(os.path.join(found["GraphDriver"]["Data"]["UpperDir"], "bin/tool"))
    assert (stat.S_IMODE(tool.st_mode), tool.st_uid) == (0o4755, 5)
    again = minirun("import", "-", input=root).stdout.strip()
    assert again != image_id  # another time, another config, the same layer
    minirun("rmi", "made:1")
    assert os.path.exists(found["GraphDriver"]["Data"]["UpperDir"])
    minirun("rmi", again)
    assert not os.path.exists(found["GraphDriver"]["Data"]["UpperDir"])


def test_inspect_of_a_missing_image_prints_an_empty_list(minirun: Minirun, archive: Path) -> None:
    minirun("load", "-i", archive)
    done = minirun("image", "inspect", "nosuch", check=False)
    assert (done.returncode, done.stdout) == (1, "[]\n")
    assert "No such image: nosuch:latest" in done.stderr
    done = minirun("image", "inspect", "nosuch", "app:1", check=False)
    assert done.returncode == 1
    assert [image["Id"] for image in json.loads(done.stdout)] == [ID]
    assert minirun("image", "inspect", "-f", "{{.Os}}/{{.Architecture}}", "app:1").stdout == "linux/amd64\n"


def test_history_has_the_newest_first(minirun: Minirun, archive: Path) -> None:
    minirun("load", "-i", archive)
    header, *lines = minirun("history", "app:1").stdout.splitlines()
    assert header.split() == ["IMAGE", "CREATED", "CREATED", "BY", "SIZE", "COMMENT"]
    assert [line.split()[0] for line in lines] == [ID[7:19], "<missing>"]
    assert [re.search(r"step \d +\d+B", line)[0].split()[1:] for line in lines] == [["1", "3B"], ["0", "4B"]]  # type: ignore[index]
    assert minirun("history", "-q", "--no-trunc", "app:1").stdout.split() == [ID, "<missing>"]


def test_tag_and_rmi_as_docker_words_it(minirun: Minirun, archive: Path) -> None:
    minirun("load", "-i", archive)
    minirun("tag", "app:1", "third")
    done = minirun("rmi", ID[7:19], check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"conflict: unable to delete {ID[7:19]} (must be forced) - image is referenced in multiple" in done.stderr
    assert minirun("rmi", "app:1", "third").stdout == "Untagged: app:1\nUntagged: third:latest\n"
    lines = minirun("rmi", "other/app:2").stdout.splitlines()
    assert lines == ["Untagged: other/app:2", f"Deleted: {ID}", f"Deleted: {digest(TOP)}", f"Deleted: {digest(LAYER)}"]
    done = minirun("rmi", "app:1", check=False)
    assert done.returncode == 1
    assert "No such image: app:1" in done.stderr
    for arguments in (["tag", "nosuch", "x"], ["tag", "app:1", "BAD"]):
        assert minirun(*arguments, check=False).returncode == 1


def test_a_digest_of_a_registry_goes_with_the_last_tag(minirun: Minirun, archive: Path) -> None:
    """As a pull leaves it: the name with its tag, and the name with the digest of its manifest."""
    minirun("load", "-i", archive)
    pulled = f"sha256:{'5' * 64}"
    names = Path("/var/lib/minirun/images/names.json")
    table = json.loads(names.read_text())
    for name in ("docker.io/other/app", "docker.io/only/digest"):
        table[f"{name}@{pulled}"] = ID
    names.write_text(json.dumps(table))
    row = "{{.Repository}} {{.Tag}}"
    own = ("app ", "other/app ", "only/digest ")  # beside what other tests have left
    listed = minirun("images", "--format", row).stdout.splitlines()
    assert {line for line in listed if line.startswith(own)} == {"app 1", "other/app 2", "only/digest <none>"}
    digests = minirun("images", "--digests", "--format", f"{row} {{{{.Digest}}}}").stdout.splitlines()
    assert {line for line in digests if line.startswith(own)} == {
        "app 1 <none>",
        f"other/app 2 {pulled}",
        f"only/digest <none> {pulled}",
    }
    assert minirun("images", "-q", "--filter", "dangling=true", "only/digest").stdout == f"{ID[7:19]}\n"
    [document] = json.loads(minirun("image", "inspect", f"only/digest@{pulled}").stdout)
    assert document["RepoDigests"] == [f"only/digest@{pulled}", f"other/app@{pulled}"]
    assert document["RepoTags"] == ["app:1", "other/app:2"]
    untagged = f"Untagged: other/app:2\nUntagged: other/app@{pulled}\n"
    assert minirun("rmi", "other/app:2").stdout == untagged
    minirun("image", "prune", "-f")
    assert minirun("rmi", "app:1").stdout == "Untagged: app:1\n"
    assert f"untagged: only/digest@{pulled}\ndeleted: {ID}\n" in minirun("image", "prune", "-f").stdout


def test_rmi_goes_on_after_an_error(minirun: Minirun, archive: Path) -> None:
    minirun("load", "-i", archive)
    done = minirun("rmi", "nosuch", "app:1", check=False)
    assert (done.returncode, done.stdout) == (1, "Untagged: app:1\n")


def test_an_image_that_a_container_uses_stays(minirun: Minirun, busybox_image: str) -> None:
    minirun("tag", busybox_image, "used:1")
    [image] = json.loads(minirun("image", "inspect", "used:1").stdout)
    container = minirun("create", "used:1", "true").stdout.strip()
    try:
        assert minirun("rmi", "used:1").stdout == "Untagged: used:1\n"  # the image has another name
        done = minirun("rmi", busybox_image, check=False)
        assert done.returncode == 1
        assert f"container {container[:12]} is using its referenced image {image['Id'][7:19]}" in done.stderr
        done = minirun("rmi", image["Id"], check=False)
        assert done.returncode == 1
        assert f"image is being used by stopped container {container[:12]}" in done.stderr
        assert f"hint: Remove the container first: 'minirun rm {container[:12]}'" in done.stderr
        assert image["Id"] in minirun("images", "-q", "--no-trunc").stdout
    finally:
        minirun("rm", "-f", container)


def test_removing_an_image_that_a_container_is_made_from(minirun: Minirun, archive: Path) -> None:
    """`rmi` has found no container, and `create` has found the image: they meet at the store's lock."""
    minirun("load", "-i", archive)
    minirun("rmi", "other/app:2")
    containers = Path("/var/lib/minirun/containers")
    with open("/var/lib/minirun/images/lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        removing = minirun.start("rmi", "app:1")
        eventually(lambda: any(Path("/var/lib/minirun/ingest").glob("*/layer-*")))
        creating = minirun.start("create", "app:1", "true")
        eventually(lambda: any(containers.glob("*/record.json")))
        fcntl.flock(lock, fcntl.LOCK_UN)
    _, message = removing.communicate(timeout=20)
    assert creating.wait(timeout=20) == 0
    assert b"has just been made from it" in message
    assert removing.returncode == 1
    [container] = minirun("ps", "-aq").stdout.split()
    assert minirun("start", "-a", container, check=False).returncode == 127  # it has files, but no such command
    minirun("rm", container)


def test_prune_removes_what_has_no_name(minirun: Minirun, archive: Path) -> None:
    minirun("image", "prune", "-f")  # what earlier tests have left
    minirun("load", "-i", archive)
    minirun("load", input=files(docker_archive([LAYER], "app:1")))
    minirun("load", input=files(docker_archive([TOP], "other/app:2")))
    done = minirun("image", "prune", "-f")
    assert f"deleted: {ID}\n" in done.stdout
    assert done.stdout.endswith("Total reclaimed space: 0B\n")  # both layers have other users
    assert minirun("image", "prune", input="n\n").stdout.startswith("WARNING!")


def test_a_long_load_shows_its_progress_on_a_terminal(terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    path = tmp_path / "slow"
    os.mkfifo(path)
    shown = terminal("load", "-i", str(path))
    data = files(docker_archive([files({"big": os.urandom(1 << 20)})], "slow"))
    with open(path, "wb") as pipe:
        pipe.write(data[: 1 << 19])
        pipe.flush()
        time.sleep(0.7)
        pipe.write(data[1 << 19 : 1 << 20])
        pipe.flush()
        shown.expect(r"archive")
        pipe.write(data[1 << 20 :])
    shown.expect(r"Loaded image: slow:latest")
    assert shown.wait() == 0


def test_layers_are_mounted_with_their_whiteouts(minirun: Minirun, tmp_path: Path) -> None:
    layers = [
        tar(entry("gone", b"x"), entry("dir/below", b"x"), entry("kept", b"x")),
        tar(entry(".wh.gone"), entry("dir/.wh..wh..opq"), entry("dir/above", b"x")),
    ]
    minirun("load", input=files(docker_archive(layers, "stacked")))
    [image] = json.loads(minirun("image", "inspect", "stacked").stdout)
    data = image["GraphDriver"]["Data"]
    target = tmp_path / "mnt"
    target.mkdir()
    lower = f"{data['UpperDir']}:{data['LowerDir']}"
    script = 'mount -t overlay -o "lowerdir=$1" overlay "$2" && cd "$2" && find . -mindepth 1 | sort'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", lower, target], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["./dir", "./dir/above", "./kept"]
