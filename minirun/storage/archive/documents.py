"""The JSON documents of an image: read within limits, and checked before anything relies on them.

Source: image-spec config.md.
"""

from __future__ import annotations

import json

from minirun.model.image import ImageConfig
from minirun.storage.layers import check_digest
from minirun.storage.tar.limits import DOCUMENT_DEPTH_MAX, DOCUMENT_VALUES_MAX
from minirun.storage.tar.malformed import MalformedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def parse_json(data: bytes, what: str) -> Any:
    """Read JSON of an archive. Raises MalformedError naming `what` it should have been."""
    # Each value but the first stands behind one of these; those within texts are counted too, which does no harm.
    if sum(map(data.count, (b",", b"[", b"{"))) > DOCUMENT_VALUES_MAX:
        raise MalformedError(f"{what} is refused: it holds more than {DOCUMENT_VALUES_MAX} values")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"{what} is not valid JSON") from error
    _check_values(document, what)
    return document


def _check_values(document: Any, what: str) -> None:
    """Refuse documents nested too deep to walk through, and text that no file name or terminal can hold."""
    level = [document]
    for _ in range(DOCUMENT_DEPTH_MAX):
        texts = [value for value in level if isinstance(value, str)]
        texts += [key for value in level if isinstance(value, dict) for key in value]
        try:
            "".join(texts).encode()
        except UnicodeEncodeError as error:
            # JSON can write half a surrogate pair, "\ud800", which no file name, argument or terminal can hold.
            raise MalformedError(f"{what} holds text that is not Unicode") from error
        inner = [value for value in level if isinstance(value, list | dict)]
        level = [item for value in inner for item in (value.values() if isinstance(value, dict) else value)]
        if not level:
            return
    raise MalformedError(f"{what} is refused: it is nested more than {DOCUMENT_DEPTH_MAX} levels deep")


# -- configs -----------------------------------------------------------------------------------------------------------
def parse_config(data: bytes) -> dict[str, Any]:
    """Read an image's config document and check what the rest relies on (image-spec config.md).

    Raises MinirunError (1) when it is not one.
    """
    document = parse_json(data, "the image's config")
    if not isinstance(document, dict) or not isinstance(document.get("rootfs"), dict):
        raise MalformedError("the image's config has no 'rootfs'")
    diff_ids = document["rootfs"].get("diff_ids") or []
    if not isinstance(diff_ids, list) or not all(isinstance(diff_id, str) for diff_id in diff_ids):
        raise MalformedError("the image's config has broken diff_ids")
    for diff_id in diff_ids:
        check_digest(diff_id)
        if not diff_id.startswith("sha256:"):
            raise MalformedError(f"the layer {diff_id} is refused: only sha256 names layers here")
    document["rootfs"]["diff_ids"] = diff_ids
    image_config(document)
    _check_description(document)
    return document


def _check_description(document: dict[str, Any]) -> None:
    """Check what is only shown to people, so that `inspect` and `history` can rely on it."""
    history = document.get("history") or []
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        raise MalformedError("the image's config has a broken history")
    texts = [document.get(name) for name in _DESCRIPTION]
    texts += [entry.get(name) for entry in history for name in ("created", "created_by", "comment")]
    if not all(text is None or isinstance(text, str) for text in texts):
        raise MalformedError("the image's config is malformed: what describes the image is not text")


_DESCRIPTION = ("architecture", "author", "comment", "created", "docker_version", "os", "variant")


def image_config(document: dict[str, Any]) -> ImageConfig:
    """Return the part of a config that a container starts from. Raises MinirunError (1) when it has a wrong type."""
    config = document.get("config") or {}
    try:
        return ImageConfig(
            user=_text(config.get("User")),
            exposed_ports=_keys(config.get("ExposedPorts")),
            env=_texts(config.get("Env")),
            entrypoint=_texts(config.get("Entrypoint")),
            cmd=_texts(config.get("Cmd")),
            volumes=_keys(config.get("Volumes")),
            working_dir=_text(config.get("WorkingDir")),
            labels={_text(key): _text(value) for key, value in (config.get("Labels") or {}).items()},
            stop_signal=_text(config.get("StopSignal")),
            shell=_texts(config.get("Shell")),
            healthcheck=dict(config.get("Healthcheck") or {}),
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise MalformedError(f"the image's config is malformed: {error}") from error


def _text(value: object) -> str:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{repr(value)[:100]} is not text")
    if value and "\0" in value:
        raise ValueError(f"{value[:100]!r} holds a NUL, which no argument or path can")
    return value or ""


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (_text(value),)
    if value is not None and not isinstance(value, list):
        raise TypeError(f"{repr(value)[:100]} is not a list")
    return tuple(_text(item) for item in value or ())


def _keys(value: object) -> tuple[str, ...]:
    """Read a set as Go writes it: an object, of which only the keys count."""
    if value is not None and not isinstance(value, dict):
        raise TypeError(f"{repr(value)[:100]} is not an object")
    return tuple(_text(key) for key in value or ())
