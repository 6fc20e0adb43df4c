"""Reading tar: ustar, pax and GNU headers, long names, sparse files, numbers beyond octal.

A reader of a stream: it never seeks, and it keeps nothing but the header at hand, so a layer of any size passes
through. Names are bytes, as the kernel has them.

Sources: pax(1) of POSIX.1-2017 (ustar and pax), GNU tar manual "Basic Tar Format" and "Storing Sparse Files".
"""

from __future__ import annotations

from minirun.errors import MinirunError, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCK = 512
ZERO_BLOCK = bytes(BLOCK)
# Go's archive/tar has the same limit: a longer one is an attack on memory.
EXTENSION_MAX = 1 << 20
SPARSE_SEGMENTS_MAX = 1 << 20
# The largest file offset, and (in nanoseconds, the year 2262) the largest time that is taken seriously.
OFFSET_MAX = (1 << 63) - 1

FILE, HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, FOLDER, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_CONTIGUOUS, _OLD_FILE, _GNU_SPARSE = b"7", b"\0", b"S"
_GNU_LONG_NAME, _GNU_LONG_LINK, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"
_GNU_LABEL = b"V"
_WITHOUT_CONTENT = frozenset({HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, FOLDER, FIFO})
_KINDS = _WITHOUT_CONTENT | {FILE}


class MalformedError(MinirunError):
    """The archive is not what it must be; the sentence says how."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, exit_code=1)


class CutOffError(MalformedError):
    """The archive ends in the middle of something."""

    def __init__(self, where: str) -> None:
        super().__init__(f"the archive is cut off: it ends in {where}")


class Entry:
    """One member: `size` is the bytes of content that follow in the stream, `real_size` those of the file.

    `sparse` lists the (offset, length) of the parts that the content fills; None for an ordinary file.
    """

    __slots__ = (
        "device",
        "gid",
        "kind",
        "link",
        "mode",
        "mtime_ns",
        "name",
        "real_size",
        "size",
        "sparse",
        "uid",
        "xattrs",
    )

    def __init__(self, name: bytes, kind: bytes, size: int) -> None:
        self.name = name
        self.kind = kind
        self.size = size
        self.real_size = size
        self.mode = 0o644
        self.uid = 0
        self.gid = 0
        self.mtime_ns = 0
        self.link = b""
        self.device = (0, 0)
        self.xattrs: dict[str, bytes] = {}
        self.sparse: list[tuple[int, int]] | None = None


class Stream:
    """Bytes that arrive in chunks, taken in the portions that the reader needs."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._chunk = b""
        self._at = 0
        self.position = 0

    def take(self, size: int, where: str = "a header") -> bytes:
        """Return the next `size` bytes. Raises CutOffError, naming `where`."""
        end = self._at + size
        if end <= len(self._chunk):
            taken = self._chunk[self._at : end]
            self._at = end
            self.position += size
            return taken
        return b"".join(self.pieces(size, where))

    def take_at_end(self, size: int) -> bytes:
        """Return the next `size` bytes, or nothing if the stream ends exactly here. Raises CutOffError."""
        if self._at == len(self._chunk) and not self._next_chunk():
            return b""
        return self.take(size)

    def pieces(self, size: int, where: str = "a file's content") -> Iterator[memoryview]:
        """Give the next `size` bytes as views of the chunks, copying nothing. Raises CutOffError."""
        while size:
            if self._at == len(self._chunk) and not self._next_chunk():
                raise CutOffError(where)
            piece = memoryview(self._chunk)[self._at : self._at + size]
            self._at += len(piece)
            self.position += len(piece)
            size -= len(piece)
            yield piece

    def rest(self) -> Iterator[memoryview]:
        """Give everything up to the end."""
        while self._at < len(self._chunk) or self._next_chunk():
            piece = memoryview(self._chunk)[self._at :]
            self._at = len(self._chunk)
            self.position += len(piece)
            yield piece

    def _next_chunk(self) -> bool:
        for chunk in self._chunks:
            if chunk:
                self._chunk, self._at = chunk, 0
                return True
        return False


class Reader:
    """Give each entry of a tar stream in turn; its content is what `content()` gives until the next one.

    `keep` is handed all bytes that are not given out as content (headers, padding, content nobody asked for).
    """

    def __init__(self, stream: Stream, keep: Callable[[bytes | memoryview], None] | None = None) -> None:
        self._stream = stream
        self._keep = keep
        self._left = 0
        self._padding = 0
        self._global: dict[bytes, bytes] = {}

    def content(self) -> Iterator[memoryview]:
        """Give the current entry's content, once."""
        left, self._left = self._left, 0
        return self._stream.pieces(left)

    def entries(self) -> Iterator[Entry]:
        """Give the entries up to the end of the archive and read what follows it. Raises MalformedError."""
        long_name = long_link = None
        pax: dict[bytes, bytes] = {}
        while True:
            self._pass_over()
            header = self._stream.take_at_end(BLOCK)
            if self._keep:
                self._keep(header)
            if not header or header == ZERO_BLOCK:
                break
            check_sum(header)
            kind = header[156:157]
            if kind == _GNU_LABEL:
                continue  # the name of the tape
            size = number(header[124:136], "size")
            if kind in (_PAX, _PAX_GLOBAL, _GNU_LONG_NAME, _GNU_LONG_LINK):
                data = self._extension(size)
                if kind == _PAX:
                    pax = pax_records(data)
                elif kind == _PAX_GLOBAL:
                    self._global.update(pax_records(data))
                elif kind == _GNU_LONG_NAME:
                    long_name = data.split(b"\0", 1)[0]
                else:
                    long_link = data.split(b"\0", 1)[0]
                continue
            yield self._entry(
                header, kind, size, {**self._global, **pax} if self._global else pax, long_name, long_link
            )
            long_name = long_link = None
            pax = {}
        for piece in self._stream.rest():
            if self._keep:
                self._keep(piece)

    def _pass_over(self) -> None:
        """Skip what is left of the entry and its padding."""
        if self._left or self._padding:
            for piece in self._stream.pieces(self._left + self._padding):
                if self._keep:
                    self._keep(piece)
            self._left = self._padding = 0

    def _extension(self, size: int) -> bytes:
        if not 0 <= size <= EXTENSION_MAX:
            raise MalformedError(f"a header extension of {size} bytes is refused: at most {EXTENSION_MAX} are allowed")
        data = self._stream.take(size + -size % BLOCK)
        if self._keep:
            self._keep(data)
        return data[:size]

    def _entry(
        self,
        header: bytes,
        kind: bytes,
        size: int,
        pax: dict[bytes, bytes],
        long_name: bytes | None,
        long_link: bytes | None,
    ) -> Entry:
        name = header[:100].split(b"\0", 1)[0]
        if header[257:263] == b"ustar\0" and header[345]:
            name = header[345:500].split(b"\0", 1)[0] + b"/" + name
        if long_name is not None:
            name = long_name
        entry = Entry(name, kind, size)
        entry.mode = number(header[100:108], "mode") & 0o7777
        entry.uid = number(header[108:116], "uid")
        entry.gid = number(header[116:124], "gid")
        entry.mtime_ns = number(header[136:148], "mtime") * 1_000_000_000
        entry.link = header[157:257].split(b"\0", 1)[0] if long_link is None else long_link
        if kind in (CHARACTER, BLOCK_DEVICE):
            entry.device = (number(header[329:337], "devmajor"), number(header[337:345], "devminor"))
        if pax:
            _apply_pax(entry, pax)
        entry.mtime_ns = max(-OFFSET_MAX, min(entry.mtime_ns, OFFSET_MAX))
        self._settle_kind(entry, header)
        if not 0 <= entry.size <= OFFSET_MAX:
            raise MalformedError(f"{shown(entry.name)} has an impossible size")
        self._left, self._padding = entry.size, -entry.size % BLOCK
        if kind == _GNU_SPARSE:
            entry.sparse = self._old_sparse_map(header)
            entry.real_size = number(header[483:495], "real size")
        elif pax:
            self._pax_sparse(entry, pax)
        if entry.sparse is not None:
            _check_sparse(entry)
        _check_names(entry)
        return entry

    def _settle_kind(self, entry: Entry, header: bytes) -> None:
        """Reduce the type flags of all formats to seven kinds."""
        if entry.kind in (_OLD_FILE, _CONTIGUOUS, _GNU_SPARSE):
            entry.kind = FILE
        # Before ustar a folder was a file whose name ends in a slash.
        if entry.kind == FILE and header[156:157] == _OLD_FILE and entry.name.endswith(b"/"):
            entry.kind = FOLDER
        if entry.kind not in _KINDS:
            raise MalformedError(f"{shown(entry.name)} has the unknown type {entry.kind!r}")
        if entry.kind in _WITHOUT_CONTENT:
            entry.size = entry.real_size = 0

    def _old_sparse_map(self, header: bytes) -> list[tuple[int, int]]:
        """Read the map of GNU tar's old sparse format: 4 entries in the header, 21 in each block that follows."""
        segments = _sparse_structs(header[386:482])
        more = header[482]
        while more:
            block = self._stream.take(BLOCK, "a map of a sparse file")
            if self._keep:
                self._keep(block)
            segments += _sparse_structs(block[:504])
            more = block[504]
            if len(segments) > SPARSE_SEGMENTS_MAX:
                raise MalformedError("a sparse file has too many parts")
        return segments

    def _pax_sparse(self, entry: Entry, pax: dict[bytes, bytes]) -> None:
        """Read the map of GNU's sparse formats 0.0, 0.1 and 1.0, which live in pax records."""
        if pax.get(b"GNU.sparse.major") == b"1" and pax.get(b"GNU.sparse.minor") == b"0":
            entry.sparse = self._sparse_map_in_content(entry)
        elif b"GNU.sparse.map" in pax:
            numbers = [_decimal(text, "sparse map") for text in pax[b"GNU.sparse.map"].split(b",") if text]
            entry.sparse = list(zip(numbers[::2], numbers[1::2], strict=False))
            if len(numbers) % 2:
                raise MalformedError(f"{shown(entry.name)} has a broken sparse map")
        else:
            return
        entry.name = pax.get(b"GNU.sparse.name", entry.name)
        real = pax.get(b"GNU.sparse.realsize", pax.get(b"GNU.sparse.size"))
        if real is None:
            raise MalformedError(f"{shown(entry.name)} is sparse and does not say how long it is")
        entry.real_size = _decimal(real, "real size")

    def _sparse_map_in_content(self, entry: Entry) -> list[tuple[int, int]]:
        """Read format 1.0: the content begins with decimal lines, padded to whole blocks."""
        text = bytearray()
        numbers: list[int] = []
        expected = 1
        while len(numbers) < expected:
            if self._left < BLOCK:
                raise MalformedError(f"{shown(entry.name)} has a broken sparse map")
            block = self._stream.take(BLOCK, "a map of a sparse file")
            if self._keep:
                self._keep(block)
            self._left -= BLOCK
            entry.size -= BLOCK
            text += block
            *lines, rest = bytes(text).split(b"\n")
            text = bytearray(rest)
            if len(rest) > BLOCK:
                raise MalformedError(f"{shown(entry.name)} has a broken sparse map")
            for line in lines:
                if len(numbers) < expected:
                    numbers.append(_decimal(line, "sparse map"))
                    if len(numbers) == 1:
                        expected = 1 + 2 * min(numbers[0], SPARSE_SEGMENTS_MAX + 1)
        if numbers[0] > SPARSE_SEGMENTS_MAX:
            raise MalformedError(f"{shown(entry.name)} has too many parts")
        return list(zip(numbers[1::2], numbers[2::2], strict=True))


def check_sum(header: bytes) -> None:
    """Raise MalformedError unless the header's checksum is right (some old tars summed signed bytes)."""
    stated = number(header[148:156], "checksum")
    unsigned = sum(header) - sum(header[148:156]) + 8 * 32
    if stated == unsigned:
        return
    high = sum(1 for byte in header[:148] + header[156:] if byte > 127)
    if stated != unsigned - 256 * high:
        raise MalformedError("this is not a tar archive, or it is corrupt: the checksum of a header is wrong")


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
    """Read the records "LENGTH KEY=VALUE\\n" of an extended header. Raises MalformedError.

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
        record = data[space + 1 : end - 1]
        key, equals, value = record.partition(b"=")
        if end > len(data) or end <= space + 1 or data[end - 1 : end] != b"\n" or not equals:
            raise MalformedError("the archive is corrupt: an extended header has a broken record")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            segments.append(value)
        records[key] = value
        at = end
    if segments:
        records[b"GNU.sparse.map"] = b",".join(segments)
    return records


def shown(name: bytes) -> str:
    """A name as an error may print it: no control characters, not too long."""
    text = printable(name.decode(errors="backslashreplace"))
    return repr(text if len(text) <= 200 else text[:200] + "...")


def _apply_pax(entry: Entry, pax: dict[bytes, bytes]) -> None:
    for key, value in pax.items():
        if key == b"path":
            entry.name = value
        elif key == b"linkpath":
            entry.link = value
        elif key == b"size":
            entry.size = entry.real_size = _decimal(value, "size")
        elif key == b"uid":
            entry.uid = _decimal(value, "uid")
        elif key == b"gid":
            entry.gid = _decimal(value, "gid")
        elif key == b"mtime":
            entry.mtime_ns = _nanoseconds(value)
        elif key.startswith(b"SCHILY.xattr."):
            entry.xattrs[_attribute(key[13:])] = value
        elif key.startswith(b"LIBARCHIVE.xattr."):
            entry.xattrs.setdefault(_attribute(_unquoted(key[17:])), _base64(value))


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


def _decimal(text: bytes, what: str) -> int:
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


def _sparse_structs(data: bytes) -> list[tuple[int, int]]:
    segments = []
    for at in range(0, len(data) - 23, 24):
        if not data[at]:
            break
        segments.append((number(data[at : at + 12], "offset"), number(data[at + 12 : at + 24], "length")))
    return segments


def _check_sparse(entry: Entry) -> None:
    end = total = 0
    for offset, length in entry.sparse or ():
        if offset < end or length < 0:
            raise MalformedError(f"{shown(entry.name)} has a broken sparse map: its parts overlap")
        end = offset + length
        total += length
    if not end <= entry.real_size <= OFFSET_MAX or total != entry.size:
        raise MalformedError(f"{shown(entry.name)} has a broken sparse map: it does not fit its size")


def _check_names(entry: Entry) -> None:
    if b"\0" in entry.name or b"\0" in entry.link:
        raise MalformedError(f"{shown(entry.name)} is refused: there is a NUL in its name")
    if not entry.name:
        raise MalformedError("an entry without a name is refused")
    if entry.kind in (HARD_LINK, SYMLINK) and not entry.link:
        raise MalformedError(f"{shown(entry.name)} is a link to nothing")
    # (uid_t) -1 means "leave as it is" to chown(2).
    if not (0 <= entry.uid < 0xFFFFFFFF and 0 <= entry.gid < 0xFFFFFFFF):
        raise MalformedError(f"{shown(entry.name)} has an impossible owner ({entry.uid}:{entry.gid})")
