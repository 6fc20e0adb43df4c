"""Images: references to them, their configuration, and the layers they are made of."""

from __future__ import annotations

from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Layer(Record):
    """One layer: `diff_id` is the sha256 of the uncompressed tar, `digest` and `size` those of the blob it came
    from."""

    diff_id: str
    digest: str = ""
    size: int = 0
    media_type: str = ""


class ImageConfig(Record):
    """The part of an image's config that a container starts from (image-spec config.md, "config")."""

    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    working_dir: str = ""
    labels: dict[str, str] = {}
    stop_signal: str = ""
    shell: tuple[str, ...] = ()
    healthcheck: dict[str, Any] = {}


class Image(Record):
    """An image as the store holds it: `id` is its config's digest ("sha256:..."), lowest layer first."""

    id: str
    config: ImageConfig
    layers: tuple[Layer, ...]
    architecture: str = "amd64"
    os: str = "linux"
    created: str = ""
    size: int = 0
