"""Damaged records of minirun's own: whatever is in the file, it is reported, and everything else goes on."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minirun.cli.output import ps as ps_output
from minirun.engine.container import inspect, records
from minirun.engine.container.status import status
from minirun.engine.image import images as engine_images
from minirun.errors import DamagedError, MinirunError
from minirun.kernel import hostfiles
from minirun.model.container import ContainerRecord, ExitStatus, RunRequest, VolumeMount
from minirun.model.image import Image, ImageConfig, Layer
from minirun.model.layout import Layout
from minirun.model.network import Endpoint, Network, PortMapping
from minirun.network import account
from minirun.runtime import state
from minirun.runtime.container_state import ContainerState
from minirun.storage import images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ID, OTHER = "a" * 64, "b" * 64
CONFIG = {"rootfs": {"diff_ids": [f"sha256:{'2' * 64}"]}, "config": {}, "history": [{"created_by": "x"}]}
DIGITS = hashlib.sha256(json.dumps(CONFIG).encode()).hexdigest()
DIGEST = f"sha256:{DIGITS}"
PORT = PortMapping(80, 8080)
REQUEST = RunRequest(
    "busybox", ("sh", "-c", "true"), environment=("A=1",), labels={"a": "b"}, ports=(PORT,), stop_timeout=3,
    mounts=(VolumeMount("volume", "/data", "name"),), devices=("/dev/null:/dev/null:rwm",),
)  # fmt: skip
RECORD = ContainerRecord(
    ID, "name", "busybox", DIGEST, ("sh", "-c", "true"), 1e9, REQUEST, 1e9, 0,
    Endpoint("bridge", "10.64.0.2", 16, "10.64.0.1", "02:42:0a:40:00:02", "mr0a400002", (PORT,)), ("c" * 64,),
)  # fmt: skip
IMAGE = Image(
    DIGEST,
    ImageConfig(env=("A=1",), cmd=("sh",), labels={"a": "b"}, healthcheck={"Test": ["CMD", "x"]}),
    (Layer(f"sha256:{'2' * 64}", f"sha256:{'3' * 64}", 5, "application/x", 7),),
    created="2024-05-01T12:00:00Z",
)
STATE = ContainerState(ID, "/bundle", 4194303, "17", 1e9, "/sys/fs/cgroup/none", {"a": "b"}, hooks=("poststop",))

FILES: dict[str, Any] = {
    f"root/containers/{ID}/record.json": RECORD.as_dict(),
    f"root/containers/{ID}/exit.json": ExitStatus(3, finished_at=1e9).as_dict(),
    f"root/images/{DIGITS}.json": IMAGE.as_dict(),
    "root/images/names.json": {"docker.io/library/busybox:latest": DIGEST},
    f"root/blobs/sha256/{DIGITS}": CONFIG,
    "state/network/bridge.json": Network("bridge", "minirun0", "10.64.0.0/16", "10.64.0.1").as_dict(),
    f"state/runtime/{ID}/state.json": STATE.as_dict(),
    f"state/runtime/{ID}/config.json": {
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "linux": {"cgroupsPath": "/no"},
    },
}


class Store:
    """A store with a container, another one, and an image."""

    def __init__(self, directory: str) -> None:
        self.layout = Layout(f"{directory}/root", f"{directory}/state")
        self.directory = directory
        for path, value in FILES.items():
            self.put(path, json.dumps(value).encode())
        other = RECORD.replace(id=OTHER, name="other")
        self.put(f"root/containers/{OTHER}/record.json", json.dumps(other.as_dict()).encode())
        os.makedirs(self.layout.names)
        os.symlink(ID, f"{self.layout.names}/name")

    def put(self, path: str, data: bytes) -> None:
        place = Path(self.directory, path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)

    def use(self) -> list[str]:
        """Do with the store what commands do; return the errors. Anything other than a MinirunError fails the test."""
        layout, errors = self.layout, []
        found = records.all_records(layout)
        assert {record.id for record in found} == {ID, OTHER}
        for record in found:
            ps_output.row(layout, record, status(layout, record), truncate=True)
        other = records.find(layout, OTHER)
        inspect.container_document(layout, other, status(layout, other), ImageConfig())
        engine_images.list_images(layout)
        account.recorded_network(layout)

        def attempt(act: Callable[[], object]) -> None:
            try:
                act()
            except MinirunError as error:
                errors.append(error.message)

        def document() -> object:
            record = records.find(layout, "name")
            return inspect.container_document(layout, record, status(layout, record), ImageConfig())

        attempt(document)
        attempt(lambda: engine_images.document(layout, images.find(layout, DIGITS)))
        attempt(lambda: engine_images.history(layout, images.find(layout, DIGITS)))
        attempt(lambda: images.find(layout, "busybox"))
        attempt(lambda: state.load(layout.runtime, ID))
        attempt(lambda: images.in_use(layout))
        return errors


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def nodes(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in a document, its own () first."""
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from nodes(inner, (*path, key))


def changed(document: Any, path: tuple[Any, ...], value: object) -> Any:
    if not path:
        return value
    changed_one = copy.deepcopy(document)
    inner = changed_one
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed_one


PLACES = [(file, path) for file, document in FILES.items() for path in nodes(json.loads(json.dumps(document)))]
NASTY = st.sampled_from(
    [
        *(
            None,
            True,
            False,
            -1,
            0,
            1e308,
            -1e308,
            1 << 64,
            -(1 << 70),
            float("nan"),
            float("inf"),
            "",
            "x",
            "\0",
            "\ud800",
        ),
        *(
            "\udcff",
            "/",
            "..",
            "../../x",
            "a\nb",
            [],
            {},
            [[]],
            [None],
            {"": None},
            {"\ud800": 1},
            "1" * 5000,
            "::",
            "999",
        ),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def test_what_was_written_is_read_back(store: Store) -> None:
    assert records.load(store.layout, ID) == RECORD
    assert images.load_image(store.layout, DIGEST) == IMAGE
    assert state.record(store.layout.runtime, ID) == STATE
    assert records.exit_status(store.layout, ID) == ExitStatus(3, finished_at=1e9)
    assert store.use() == []


@given(file=st.sampled_from(list(FILES)), data=st.binary(max_size=200) | JSON.map(lambda v: json.dumps(v).encode()))
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes_in_any_record(file: str, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        store = Store(directory)
        store.put(file, data)
        store.use()


@given(place=st.sampled_from(PLACES), value=NASTY | JSON)
@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
def test_any_value_in_the_place_of_another(place: tuple[str, tuple[Any, ...]], value: object) -> None:
    file, path = place
    with tempfile.TemporaryDirectory() as directory:
        store = Store(directory)
        store.put(file, json.dumps(changed(FILES[file], path, value)).encode())
        store.use()


@given(file=st.sampled_from(list(FILES)), share=st.floats(0, 1))
@settings(max_examples=50)
def test_a_part_of_any_record(file: str, share: float) -> None:
    whole = json.dumps(FILES[file]).encode()
    with tempfile.TemporaryDirectory() as directory:
        store = Store(directory)
        store.put(file, whole[: int(len(whole) * share)])
        store.use()


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("kind", ["directory", "fifo", "link", "socket of nobody", "deep", "not UTF-8"])
def test_something_else_in_the_place_of_a_record(store: Store, file: str, kind: str) -> None:
    path = Path(store.directory, file)
    path.unlink()
    match kind:
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "link":
            path.symlink_to("/dev/zero")
        case "socket of nobody":
            path.symlink_to(path)
        case "deep":
            path.write_bytes(b"[" * 100_000)
        case "not UTF-8":
            path.write_bytes(b'{"id": "\xff"}')
    store.use()


@pytest.mark.parametrize("moment", ["1e308", "NaN", '"x"', "-5", "253402300800", "1e999"])
def test_moments_that_no_calendar_knows(store: Store, moment: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = json.dumps(RECORD.as_dict()).replace('"created_at": 1000000000.0', f'"created_at": {moment}')
    assert text != json.dumps(RECORD.as_dict())
    store.put(f"root/containers/{ID}/record.json", text.encode())
    store.use()
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 1
    assert f"{store.layout.container(ID)}/record.json is damaged: " in warnings[0]
    assert f"minirun rm --force {ID[:12]}" in warnings[0]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("id",), OTHER),
        (("name",), "../../etc/passwd"),
        (("anonymous_volumes",), ["../../../home"]),
        (("request", "mounts", 0, "source"), "../../home"),
        (("endpoint", "address"), "10.64.0"),
        (("request", "ports", 0, "host_port"), 65536),
        (("command",), []),
    ],
)
def test_values_that_would_lead_astray(store: Store, path: tuple[Any, ...], value: object) -> None:
    document = changed(json.loads(json.dumps(RECORD.as_dict())), path, value)
    store.put(f"root/containers/{ID}/record.json", json.dumps(document).encode())
    with pytest.raises(DamagedError):
        records.load(store.layout, ID)
    assert isinstance(records.find_any(store.layout, "name"), records.Unreadable)
    assert records.find_any(store.layout, "name").name == "name"


def test_arguments_that_are_not_utf_8_are_kept(store: Store) -> None:
    record = RECORD.replace(command=("echo", os.fsdecode(b"\xff\xfe")))
    records.save(store.layout, record)
    assert records.load(store.layout, ID) == record


def test_the_names_of_images_that_are_damaged_are_kept_aside(store: Store) -> None:
    store.put("root/images/names.json", b"{garbled")
    assert images.read_names(store.layout) == {}
    images.tag(store.layout, DIGEST, images.ImageRef.parse("again"))
    assert images.find_id(store.layout, "again") == DIGEST
    assert Path(store.layout.images, "names.json.damaged").read_bytes() == b"{garbled"


def test_no_image_is_pruned_because_the_names_are_damaged(store: Store) -> None:
    store.put("root/images/names.json", b"{garbled")
    shutil.rmtree(store.layout.containers)
    with pytest.raises(DamagedError, match=r"names\.json is damaged"):
        engine_images.prune(store.layout, everything=False)
    assert images.load_image(store.layout, DIGEST) == IMAGE


def test_layers_of_an_image_whose_record_is_damaged_stay(store: Store) -> None:
    store.put(f"root/images/{DIGITS}.json", b"")
    assert f"layer-{'2' * 64}" in images.in_use(store.layout)


def test_writing_to_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    hostfiles.replace(str(path), "old")
    os.symlink("/dev/full", f"{path}.new")
    with pytest.raises(OSError, match="No space left on device") as caught:
        hostfiles.replace(str(path), "new")
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]
