"""Reading tar: ustar, pax and GNU headers, long names, sparse files, numbers beyond octal.

A reader of a stream: it never seeks, and it keeps nothing but the header at hand, so a layer of any size passes
through. Names are bytes, as the kernel has them. What a header may ask for is bounded by `limits`.

Sources: pax(1) of POSIX.1-2017 (ustar and pax), GNU tar manual "Basic Tar Format".
"""

from __future__ import annotations

from minirun.storage.tar.limits import (
    ENTRIES_MAX,
    EXTENSION_MAX,
    GLOBAL_RECORDS_MAX,
    NAME_MAX,
    SPARSE_SEGMENTS_MAX,
)
from minirun.storage.tar.malformed import CutOffError, MalformedError, NotTarError, shown
from minirun.storage.tar.tar_fields import (
    apply_pax,
    decimal,
    number,
    pax_records,
    sparse_list,
    sparse_structs,
    sums_up,
    too_many_segments,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCK = 512
ZERO_BLOCK = bytes(BLOCK)
# The largest file offset, and (in nanoseconds, the year 2262) the largest time that is taken seriously.
OFFSET_MAX = (1 << 63) - 1

FILE, HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_CONTIGUOUS, _OLD_FILE, _GNU_SPARSE = b"7", b"\0", b"S"
_GNU_LONG_NAME, _GNU_LONG_LINK, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"
_GNU_LABEL = b"V"
_WITHOUT_CONTENT = frozenset({HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO})
_KINDS = _WITHOUT_CONTENT | {FILE}


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
        self._count = 0

    def content(self) -> Iterator[memoryview]:
        """Give the current entry's content, once."""
        left, self._left = self._left, 0
        return self._stream.pieces(left)

    def entries(self) -> Iterator[Entry]:
        """Give the entries up to the end of the archive and read what follows it.

        Raises MalformedError; NotTarError where already the first header is none.
        """
        long_name = long_link = None
        pax: dict[bytes, bytes] = {}
        while True:
            self._pass_over()
            header = self._header()
            if self._keep:
                self._keep(header)
            if not header or header == ZERO_BLOCK:
                break
            kind = header[156:157]
            if kind == _GNU_LABEL:
                continue  # the name of the tape
            size = number(header[124:136], "size")
            if kind in (_PAX, _PAX_GLOBAL, _GNU_LONG_NAME, _GNU_LONG_LINK):
                data = self._extension(size)
                if kind == _PAX:
                    pax = pax_records(data)
                elif kind == _PAX_GLOBAL:
                    self._keep_global(pax_records(data))
                elif kind == _GNU_LONG_NAME:
                    long_name = data.split(b"\0", 1)[0]
                else:
                    long_link = data.split(b"\0", 1)[0]
                continue
            self._count += 1
            if self._count > ENTRIES_MAX:
                raise MalformedError(f"the archive is refused: it has more than {ENTRIES_MAX} entries")
            yield self._entry(header, kind, size, pax, long_name, long_link)
            long_name = long_link = None
            pax = {}
        for piece in self._stream.rest():
            if self._keep:
                self._keep(piece)

    def _header(self) -> bytes:
        """Return the next header, or nothing at the end of the stream."""
        at_start = not self._stream.position
        try:
            header = self._stream.take_at_end(BLOCK)
        except CutOffError:
            raise NotTarError() if at_start else CutOffError("a header") from None
        if header and header != ZERO_BLOCK and not sums_up(header):
            if at_start:
                raise NotTarError()
            raise MalformedError("the archive is corrupt: the checksum of a header is wrong")
        return header

    def _keep_global(self, records: dict[bytes, bytes]) -> None:
        """Note what a global header says of all entries that follow."""
        self._global.update(records)
        if len(self._global) > GLOBAL_RECORDS_MAX:
            raise MalformedError(f"the archive is refused: more than {GLOBAL_RECORDS_MAX} records for all its entries")

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
        for records in (self._global, pax):
            if records:
                apply_pax(entry, records)
        entry.mtime_ns = max(-OFFSET_MAX, min(entry.mtime_ns, OFFSET_MAX))
        self._settle_kind(entry, header)
        if not 0 <= entry.size <= OFFSET_MAX:
            raise MalformedError(f"{shown(entry.name)} has an impossible size")
        self._left, self._padding = entry.size, -entry.size % BLOCK
        if kind == _GNU_SPARSE:
            entry.sparse = self._old_sparse_map(entry, header)
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
        # Before ustar a directory was a file whose name ends in a slash.
        if entry.kind == FILE and header[156:157] == _OLD_FILE and entry.name.endswith(b"/"):
            entry.kind = DIRECTORY
        if entry.kind not in _KINDS:
            raise MalformedError(f"{shown(entry.name)} has the unknown type {entry.kind!r}")
        if entry.kind in _WITHOUT_CONTENT:
            entry.size = entry.real_size = 0

    def _old_sparse_map(self, entry: Entry, header: bytes) -> list[tuple[int, int]]:
        """Read the map of GNU tar's old sparse format: 4 entries in the header, 21 in each block that follows."""
        segments = sparse_structs(header[386:482])
        more = header[482]
        while more:
            block = self._stream.take(BLOCK, "a map of a sparse file")
            if self._keep:
                self._keep(block)
            segments += sparse_structs(block[:504])
            more = block[504]
            if len(segments) > SPARSE_SEGMENTS_MAX:
                raise too_many_segments(entry.name)
        return segments

    def _pax_sparse(self, entry: Entry, pax: dict[bytes, bytes]) -> None:
        """Read the map of GNU's sparse formats 0.0, 0.1 and 1.0, which live in pax records."""
        if pax.get(b"GNU.sparse.major") == b"1" and pax.get(b"GNU.sparse.minor") == b"0":
            entry.sparse = self._sparse_map_in_content(entry)
        elif b"GNU.sparse.map" in pax:
            entry.sparse = sparse_list(entry.name, pax[b"GNU.sparse.map"])
        else:
            return
        entry.name = pax.get(b"GNU.sparse.name", entry.name)
        real = pax.get(b"GNU.sparse.realsize", pax.get(b"GNU.sparse.size"))
        if real is None:
            raise MalformedError(f"{shown(entry.name)} is sparse and does not say how long it is")
        entry.real_size = decimal(real, "real size")

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
                    numbers.append(decimal(line, "sparse map"))
                    if len(numbers) == 1:
                        expected = 1 + 2 * min(numbers[0], SPARSE_SEGMENTS_MAX + 1)
        if numbers[0] > SPARSE_SEGMENTS_MAX:
            raise too_many_segments(entry.name)
        return list(zip(numbers[1::2], numbers[2::2], strict=True))


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
    if len(entry.name) > NAME_MAX or len(entry.link) > NAME_MAX:
        raise MalformedError(f"{shown(entry.name)} is refused: File name too long (more than {NAME_MAX} bytes)")
    if not entry.name:
        raise MalformedError("an entry without a name is refused")
    if entry.kind in (HARD_LINK, SYMLINK) and not entry.link:
        raise MalformedError(f"{shown(entry.name)} is a link to nothing")
    # (uid_t) -1 means "leave as it is" to chown(2).
    if not (0 <= entry.uid < 0xFFFFFFFF and 0 <= entry.gid < 0xFFFFFFFF):
        raise MalformedError(f"{shown(entry.name)} has an impossible owner ({entry.uid}:{entry.gid})")
