"""What a newcomer types: scripts/quickstart, and then every block of the README in the order in which it is read."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from caller import own_namespaces, remove_cgroups
from docker_daemon import containerd, docker_daemon
from engines import PODMAN_CONFIGURATION
from support import image_archives
from support.oci_bundles import host_has_cgroup2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.commands import Minirun
    from tests.support.host import Host
    from tests.support.terminal import Terminal

CHECKOUT = Path(__file__).resolve().parents[2]
NO_SOURCES = shutil.ignore_patterns(".git", "__pycache__", ".*_cache", "*.egg-info", "*.so", "*.o")

# What is not run, and why. A command that is new in the README runs unless it is added here.
NOT_RUN = {
    "sudo scripts/test": "it runs this test",
    "sudo scripts/test tests/unit -k names": "it runs tests as this one is run",
    "sudo scripts/labvm shell": "a virtual machine; tests/lab run in it",
    "sudo scripts/labvm run COMMAND...": "a virtual machine; tests/lab run in it",
    "sudo scripts/bench": "it measures for minutes",
    "sudo rm -rf /opt/minirun /usr/local/bin/minirun /usr/local/bin/minirun-oci /var/lib/minirun": (
        "the tests may run from there"
    ),
}

# For interactive commands: what is waited for, and then typed.
PROMPT = "/ # "
TYPED = {
    "sudo minirun run --rm -it busybox": (PROMPT, "exit\n"),
    "sudo minirun exec -it web sh": (PROMPT, "exit\n"),
    "sudo minirun logs -f web": ("response:200", "\x03"),
}

SHOWN = {
    "sudo scripts/quickstart": r"Fetched http://localhost:8080/: Hello from a container",
    "sudo minirun images": r"(?s)busybox.*nginx|nginx.*busybox",
    "sudo minirun run --rm busybox echo hello": r"\Ahello\s*\Z",
    "curl http://localhost:8081/": r"<h1>Hello from a container</h1>",
    "sudo minirun ps": r":8081->8080/tcp(?s:.*):8080->8080/tcp",
    "sudo minirun diff web": r"A /README\.md",
    "sudo minirun commit web mine:1": r"sha256:[0-9a-f]{64}\s*\Z",
    "sudo minirun run --rm --network class busybox ping -c 1 db": r"1 packets received",
    "sudo minirun --explain run --rm busybox true": r"pivot_root\(",
    "sudo minirun --explain=json run --rm busybox true": r'"operation": ?"pivot_root"',
    "docker run --rm --runtime minirun busybox echo hello": r"\Ahello\s*\Z",
    "sudo podman --runtime /usr/local/bin/minirun-oci run --rm busybox echo hello": r"\Ahello\s*\Z",
}

LIMITED = "sudo minirun run --rm --memory 64m --cpus 0.5 --pids-limit 100 busybox cat /sys/fs/cgroup/memory.max"


class Block(NamedTuple):
    """A fenced block of the README: its language and its text."""

    language: str
    text: str


def blocks() -> list[Block]:
    text = (CHECKOUT / "README.md").read_text()
    return [Block(*found) for found in re.findall(r"(?ms)^```(\w*)\n(.*?)^```$", text)]


def commands(block: Block) -> list[str]:
    """Return the commands of a block, without their comments."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [" ".join(command.split()) for line in lines if (command := re.sub(r"(^|\s)#.*", "", line).strip())]


@pytest.fixture(scope="module")
def newcomer(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:  # noqa: ARG001 - on that host
    """Return a checkout; minirun will be in /usr/local/bin, and `sudo` works without a password.

    The installation is the tested one under another path: quickstart finds nothing to install, and writes its own
    files there.
    """
    place = tmp_path_factory.mktemp("newcomer")
    shutil.copytree(CHECKOUT, place / "checkout", ignore=NO_SOURCES)
    installed, prefix = Path(sys.prefix), place / "prefix"
    (prefix / "lib").mkdir(parents=True)
    for name in ("pyvenv.cfg", "provisioned"):
        shutil.copy(installed / name, prefix)
    for name in ("bin", f"lib/python{sys.version_info.major}.{sys.version_info.minor}"):
        (prefix / name).symlink_to(installed / name)

    layers = Path(tempfile.mkdtemp(prefix="newcomer-", dir="/mnt"))  # a tmpfs of the host's
    for name in ("upper", "work"):
        (layers / name).mkdir()
    options = f"lowerdir=/usr/local,upperdir={layers}/upper,workdir={layers}/work"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", "/usr/local"], check=True)
    for name in ("minirun", "minirun-oci"):
        Path("/usr/local/bin", name).unlink(missing_ok=True)
    sudo = Path("/usr/local/bin/sudo")
    sudo.write_text('#!/bin/sh\nexec "$@"\n')
    sudo.chmod(0o755)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MINIRUN_PREFIX", str(prefix))
        environment.delenv("MINIRUN_BIN", raising=False)
        environment.setenv("XDG_CACHE_HOME", str(place / "cache"))
        environment.setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        yield place / "checkout"
    subprocess.run(["umount", "--lazy", "/usr/local"], check=True)


@pytest.fixture
def type_line(newcomer: Path, terminal: Callable[..., Terminal]) -> Callable[..., tuple[int, str]]:
    """Return a function that runs a shell command in the checkout, on a terminal; it returns the status and the output.

    With `expected`, `typed` is typed once that has appeared.
    """

    def run(command: str, expected: str = "", typed: str = "", directory: Path = newcomer) -> tuple[int, str]:
        shell = terminal("-c", 'cd "$1" && eval "$2"', "bash", str(directory), command, program="bash", columns=200)
        shown = ""
        if typed:
            shown = shell.expect(f"(?s:.*){expected}", timeout=120)[0]
            shell.send(typed)
        status = shell.wait(timeout=120)
        return status, (shown + shell.output).replace("\r\n", "\n")

    return run


# -- the README ------------------------------------------------------------------------------------------------------


@pytest.fixture
def engines(newcomer: Path, busybox_rootfs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:  # noqa: ARG001
    """Start Docker and containerd as the README configures them, with images, and let the clients find them."""
    place = Path("/mnt/tour")
    files = {block.language + str(number): block.text for number, block in enumerate(blocks())}
    daemon = next(text for name, text in files.items() if name.startswith("json"))
    podman = next(text for name, text in files.items() if "runtime_supports_nocgroup" in text)
    for name in ("docker", "ctr", "podman"):
        (place / name).mkdir(parents=True)
    configuration = place / "docker/daemon.json"
    configuration.write_text(daemon)

    before, _, after = PODMAN_CONFIGURATION.partition("[engine]\n")
    (place / "podman/containers.conf").write_text(f'{before}{podman}{after}cgroup_manager = "cgroupfs"\n')
    storage = f'driver = "vfs"\ngraphroot = "{place}/podman/root"\nrunroot = "{place}/podman/run"\n'
    (place / "podman/storage.conf").write_text(f"[storage]\n{storage}")
    monkeypatch.setenv("CONTAINERS_CONF", f"{place}/podman/containers.conf")
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", f"{place}/podman/storage.conf")
    monkeypatch.setenv("PODMAN_IGNORE_CGROUPSV1_WARNING", "1")
    subprocess.run(["podman", "import", busybox_rootfs, "busybox"], check=True, capture_output=True)

    image = image_archives.docker_archive([busybox_rootfs.read_bytes()], "busybox:latest")
    (place / "ctr/busybox.tar").write_bytes(image_archives.files(image))
    with (
        own_namespaces() as inside,
        docker_daemon(place / "docker", busybox_rootfs, inside, [f"--config-file={configuration}"]) as docker,
        containerd(place / "ctr", inside) as address,
    ):
        docker("tag", "busybox", "nginx")
        monkeypatch.setenv("DOCKER_HOST", f"unix://{place}/docker/docker.sock")
        monkeypatch.setenv("CONTAINERD_ADDRESS", str(address))
        monkeypatch.setenv("CONTAINERD_NAMESPACE", "minirun-tour")
        subprocess.run(["ctr", "images", "import", place / "ctr/busybox.tar"], check=True, capture_output=True)
        yield
    remove_cgroups("conmon", "libpod_parent", "minirun-tour", "docker")


def check_file(block: Block, handler: str) -> None:
    """Check a block that goes into a file, or that only shows something."""
    if block.language == "json":
        assert json.loads(block.text)["runtimes"]["minirun"]["path"] == "/usr/local/bin/minirun-oci"
    elif block.language == "toml" and "runtime_supports_nocgroup" in block.text:
        assert "minirun-oci" in tomllib.loads(block.text)["engine"]["runtime_supports_nocgroup"]
    elif block.language == "toml":
        file = Path("/mnt/tour/config.toml")
        file.write_text(block.text)
        dump = ["containerd", "--config", file, "config", "dump"]
        settings = tomllib.loads(subprocess.run(dump, check=True, capture_output=True, text=True).stdout)
        runtime = settings["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"][handler]
        assert runtime["options"]["BinaryName"] == "/usr/local/bin/minirun-oci"
    elif block.language == "yaml":
        fields = dict(re.findall(r"(?m)^ *(\w+): *(\S+)$", block.text))
        assert fields == {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "name": "minirun",
            "handler": handler,
        }
    elif block.language == "text" and block.text.startswith("minirun/\n"):
        package = True
        for line in block.text.splitlines():
            name = line.split()[0]
            package = line.startswith("  ") or line == "minirun/"
            assert (CHECKOUT / ("minirun" if line.startswith("  ") else "") / name).is_dir(), line
        assert package is False
    else:
        pytest.fail(f"nothing checks this block of the README:\n{block.text}")


def test_the_readme_works_as_it_is_read(
    minirun: Minirun,
    engines: None,  # noqa: ARG001
    type_line: Callable[..., tuple[int, str]],
) -> None:
    run: set[str] = set()
    for block in blocks():
        if block.language != "sh":
            check_file(block, handler="minirun")
            continue
        for command in commands(block):
            run.add(command)
            if command in NOT_RUN:
                continue
            status, shown = type_line(command, *TYPED.get(command, ()))
            if command == LIMITED and not host_has_cgroup2():
                assert (status, "bound to the v1 hierarchy" in shown) == (125, True), shown
                continue
            assert status == (130 if command in TYPED and TYPED[command][1] == "\x03" else 0), f"{command}\n{shown}"
            assert re.search(SHOWN.get(command, ""), shown), f"{command}\n{shown}"
    # A command that is no longer in the README must leave these tables, too.
    assert {*NOT_RUN, *TYPED, *SHOWN, LIMITED} <= run
    nothing = subprocess.run(["minirun", "ps", "-aq"], check=True, capture_output=True, text=True).stdout
    assert nothing == ""
    minirun("rmi", "demo", "nginx", "mine:1")


# -- quickstart ------------------------------------------------------------------------------------------------------

QUICKSTART = "sudo scripts/quickstart"


def test_a_second_quickstart_takes_the_place_of_the_first(
    minirun: Minirun, type_line: Callable[..., tuple[int, str]]
) -> None:
    try:
        first, second = type_line(QUICKSTART), type_line(QUICKSTART)
        assert (first[0], second[0]) == (0, 0), first[1] + second[1]
        assert "The demo image is there already" in second[1]
        assert minirun("ps", "-a", "--format", "{{.Names}} {{.State}}").stdout == "demo running\n"
    finally:
        minirun("rm", "-f", "demo")


def last_words(shown: str) -> list[str]:
    """Return the sentence with which quickstart ends and its hint."""
    lines = shown.splitlines()
    return lines[next(number for number, line in enumerate(lines) if line.startswith("quickstart: ")) :]


def test_quickstart_says_what_is_in_its_way(
    minirun: Minirun, busybox_image: str, type_line: Callable[..., tuple[int, str]]
) -> None:
    status, shown = type_line(f"{QUICKSTART} --now")
    assert (status, shown) == (2, "usage: sudo scripts/quickstart (it takes no arguments)\n")

    with socket.create_server(("127.0.0.1", 8080)):
        status, shown = type_line(QUICKSTART)
    assert status == 1
    assert last_words(shown) == [
        "quickstart: something on this machine listens on port 8080 already.",
        "hint: see what: sudo ss --listening --tcp --processes",
    ]

    minirun("run", "-d", "--name", "mine", "-p", "8080:80", busybox_image, "sleep", "1000")
    status, shown = type_line(QUICKSTART)
    assert status == 1
    assert last_words(shown) == [
        "quickstart: the container 'mine' has the port 8080.",
        "hint: end it: sudo minirun stop mine",
    ]

    minirun("rename", "mine", "demo")
    status, shown = type_line(QUICKSTART)
    assert status == 1
    assert last_words(shown)[0] == "quickstart: a container named 'demo' of the image 'busybox' exists."
    assert minirun("ps", "-a", "--format", "{{.Names}}").stdout == "demo\n"


@pytest.mark.parametrize(
    ("file", "content", "moment"),
    [
        ("images/demo/rootfs", "#!/bin/sh\necho it takes long >&2\nexec sleep 1000\n", "it takes long"),
        ("images/demo/changes", 'CMD ["sleep", "1000"]\n', "Running: "),
    ],
    ids=["while the image is made", "before the page answers"],
)
def test_quickstart_that_is_interrupted_leaves_nothing(
    minirun: Minirun,
    newcomer: Path,
    type_line: Callable[..., tuple[int, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    content: str,
    moment: str,
) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(newcomer, checkout)
    Path(checkout, file).write_text(content)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    status, shown = type_line(QUICKSTART, moment, "\x03", directory=checkout)
    assert status == 130
    assert last_words(shown) == ["quickstart: interrupted; run it again to go on."]
    assert minirun("ps", "-aq").stdout == ""
    assert os.listdir(temporary) == []
