"""What the fields of a tar's headers mean: numbers, checksums, pax records, maps of sparse files.

Sources: pax(1) of POSIX.1-2017 (ustar and pax), GNU tar manual "Storing Sparse Files", star(1) for SCHILY.xattr,
libarchive-formats(5) for LIBARCHIVE.xattr.
"""

from __future__ import annotations

from zlib import adler32

from minirun.storage.tar.limits import ATTRIBUTE_NAMES_MAX, SPARSE_SEGMENTS_MAX
from minirun.storage.tar.malformed import MalformedError, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.storage.tar.reader import Entry

# The records that mean something to a layer; of all others, such as comments, nothing is kept.
_PAX_KEYS = frozenset({b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime"})
_PAX_PREFIXES = (b"SCHILY.xattr.", b"LIBARCHIVE.xattr.", b"GNU.sparse.")


def sums_up(header: bytes) -> bool:
    """Say whether a header's checksum is right (some old tars summed signed bytes)."""
    try:
        stated = number(header[148:156], "checksum")
    except MalformedError:
        return False
    # The lower half of Adler-32 is 1 and the sum of the bytes, modulo 65521 (RFC 1950): 256 of them never reach that.
    # Half of the time to read a header would go into a sum in Python.
    unsigned = (adler32(header[:256]) & 0xFFFF) + (adler32(header[256:]) & 0xFFFF) - 2
    unsigned += 8 * 32 - sum(header[148:156])
    if stated == unsigned:
        return True
    high = sum(1 for byte in header[:148] + header[156:] if byte > 127)
    return stated == unsigned - 256 * high


def number(field: bytes, what: str) -> int:
    """Read a number field: octal text, or base 256 when the first bit is set (GNU). Raises MalformedError."""
    if field[0] & 0x80:
        if field[0] == 0xFF:
            return int.from_bytes(field, "big", signed=True)
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    text = field.split(b"\0", 1)[0].strip(b" ")
    try:
        return int(text, 8) if text else 0
    except ValueError:
        raise MalformedError(f"the archive is corrupt: {field!r} is no {what}") from None


def pax_records(data: bytes) -> dict[bytes, bytes]:
    """Read those records "LENGTH KEY=VALUE\\n" of an extended header that mean something here. Raises MalformedError.

    A sparse map of format 0.0 comes as repeated keys; they are joined as format 0.1 has them.
    """
    records: dict[bytes, bytes] = {}
    segments: list[bytes] = []
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 20)
        length = data[at:space] if space > 0 else b""
        if not length.isdigit():
            raise MalformedError("the archive is corrupt: an extended header has a broken record")
        end = at + int(length)
        equals = data.find(b"=", space, end)
        if end > len(data) or end <= space + 1 or data[end - 1 : end] != b"\n" or equals < 0:
            raise MalformedError("the archive is corrupt: an extended header has a broken record")
        key = data[space + 1 : equals]
        at = end
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            segments.append(data[equals + 1 : end - 1])
        elif key in _PAX_KEYS or key.startswith(_PAX_PREFIXES):
            records[key] = data[equals + 1 : end - 1]
    if segments:
        records[b"GNU.sparse.map"] = b",".join(segments)
    return records


def apply_pax(entry: Entry, records: dict[bytes, bytes]) -> None:
    """Let the records of an extended header take the place of what the header itself says. Raises MalformedError."""
    names_size = 0
    for key, value in records.items():
        if key == b"path":
            entry.name = value
        elif key == b"linkpath":
            entry.link = value
        elif key == b"size":
            entry.size = entry.real_size = decimal(value, "size")
        elif key == b"uid":
            entry.uid = decimal(value, "uid")
        elif key == b"gid":
            entry.gid = decimal(value, "gid")
        elif key == b"mtime":
            entry.mtime_ns = _nanoseconds(value)
        elif key.startswith(b"SCHILY.xattr."):
            entry.xattrs[_attribute(key[13:])] = value
            names_size += len(key) - 12
        elif key.startswith(b"LIBARCHIVE.xattr."):
            entry.xattrs.setdefault(_attribute(_unquoted(key[17:])), _base64(value))
            names_size += len(key) - 16
    if names_size > ATTRIBUTE_NAMES_MAX:
        raise MalformedError(f"{shown(entry.name)} is refused: it has more extended attributes than a file can have")


def _attribute(name: bytes) -> str:
    if b"\0" in name:
        raise MalformedError("an extended attribute has a NUL in its name")
    return name.decode(errors="surrogateescape")


def _unquoted(name: bytes) -> bytes:
    """libarchive writes %XX for what a pax key cannot hold."""
    from urllib.parse import unquote_to_bytes

    return unquote_to_bytes(name)


def _base64(value: bytes) -> bytes:
    """libarchive writes values in base 64 without the padding."""
    from base64 import b64decode

    try:
        return b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except ValueError:
        raise MalformedError("an extended attribute is not in base 64") from None


def decimal(text: bytes, what: str) -> int:
    """Read a number of a pax record. Raises MalformedError."""
    if not text.isdigit() or len(text) > 20:
        raise MalformedError(f"the archive is corrupt: {text[:40]!r} is no {what}")
    return int(text)


def _nanoseconds(text: bytes) -> int:
    """Read "1700000000.123456789", with sign and fraction optional."""
    whole, _, fraction = text.partition(b".")
    sign = -1 if whole.startswith(b"-") else 1
    digits = whole.removeprefix(b"-") or b"0"
    if not digits.isdigit() or len(digits) > 20 or (fraction and not fraction.isdigit()):
        raise MalformedError(f"the archive is corrupt: {text[:40]!r} is no time")
    return sign * (int(digits) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0")))


# -- sparse files ------------------------------------------------------------------------------------------------------
def sparse_structs(data: bytes) -> list[tuple[int, int]]:
    """Read (offset, length) pairs of GNU tar's old sparse format, up to the first empty one. Raises MalformedError."""
    segments = []
    for at in range(0, len(data) - 23, 24):
        if not data[at]:
            break
        segments.append((number(data[at : at + 12], "offset"), number(data[at + 12 : at + 24], "length")))
    return segments


def sparse_list(name: bytes, text: bytes) -> list[tuple[int, int]]:
    """Read the map of the formats 0.0 and 0.1, "OFFSET,LENGTH,OFFSET,LENGTH...". Raises MalformedError."""
    if text.count(b",") > 2 * SPARSE_SEGMENTS_MAX:
        raise too_many_segments(name)
    numbers = [decimal(item, "sparse map") for item in text.split(b",") if item]
    if len(numbers) % 2:
        raise MalformedError(f"{shown(name)} has a broken sparse map")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def too_many_segments(name: bytes) -> MalformedError:
    """The error for a sparse file whose map is an attack on memory."""
    return MalformedError(f"{shown(name)} is refused: a sparse file of more than {SPARSE_SEGMENTS_MAX} parts")
