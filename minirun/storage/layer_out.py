"""One layer out of the store, as a tar and as a compressed blob, to be saved or pushed.

The layer's tar comes out byte for byte as it came in: its hash is checked against the layer's diff_id. A compressed
blob is the same at any time and on any number of processors, so that a registry that has it need not get it again; what
its digest and size are is remembered beside the layer:

    layers/HEX/blob-gzip.json    digest and size, and what compressed it: another version may give other bytes

It goes with the layer. Reading, hashing and compressing are three threads, as for a layer that comes in.
"""

from __future__ import annotations

import errno
import hashlib
import os

from minirun.errors import DamagedError
from minirun.kernel.hostfiles import read_record, replace
from minirun.model import jsontext
from minirun.model.record import Record
from minirun.storage.images import layer_directory, way_out
from minirun.storage.store import note_damage
from minirun.storage.tar.assemble import tar_of_layer
from minirun.storage.tar.compress import compressed, encoder
from minirun.storage.tar.read_ahead import read_ahead

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minirun.model.layout import Layout
    from minirun.model.typed import Bytes, Digest

MEDIA_TYPE = "application/vnd.oci.image.layer.v1.tar"


class Blob(Record):
    """A layer as a registry has it: `encoder` says what compressed it."""

    digest: Digest
    size: Bytes
    encoder: str


def layer_tar(layout: Layout, image_id: str, diff_id: str) -> Iterator[bytes]:
    """Give a layer's tar in pieces of at most 1 MiB; `image_id` is the image that it is wanted for.

    Raises DamagedError, at the end at the latest, when this is not the tar that came in; the next load or pull of the
    image unpacks the layer again then.
    """
    directory = layer_directory(layout, diff_id)
    found = hashlib.sha256()
    try:
        for piece in read_ahead(tar_of_layer(directory)):
            found.update(piece)
            yield piece
        if f"sha256:{found.hexdigest()}" != diff_id:
            raise DamagedError(directory, "the files in it are not those that came in")
    except DamagedError as damage:
        if os.path.isdir(directory):
            note_damage(layout, diff_id)
        raise DamagedError(damage.path, damage.reason, way_out(layout, image_id)) from damage
    except FileNotFoundError:
        raise DamagedError(directory, "it is missing", way_out(layout, image_id)) from None


def layer_blob(layout: Layout, image_id: str, diff_id: str, compression: str) -> Iterator[bytes]:
    """Give a layer compressed with "gzip" or "zstd"; when all is given, its digest and size are remembered.

    Where the disk has no room for that, they are not. Raises DamagedError as `layer_tar` does.
    """
    found = hashlib.sha256()
    size = 0
    for piece in read_ahead(compressed(read_ahead(layer_tar(layout, image_id, diff_id)), compression)):
        found.update(piece)
        size += len(piece)
        yield piece
    blob = Blob(f"sha256:{found.hexdigest()}", size, encoder(compression))
    try:
        replace(_record_path(layout, diff_id, compression), jsontext.dumps(blob.as_dict()), 0o600)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise


def known_blob(layout: Layout, diff_id: str, compression: str) -> Blob | None:
    """Return what a layer is when it is compressed, as far as that is known without compressing it."""
    try:
        blob = read_record(_record_path(layout, diff_id, compression), Blob)
    except (FileNotFoundError, DamagedError):
        return None
    return blob if blob.encoder == encoder(compression) else None


def _record_path(layout: Layout, diff_id: str, compression: str) -> str:
    return f"{layer_directory(layout, diff_id)}/blob-{compression}.json"
