"""How far to read on in a zstd frame, so that what comes out is no more than a piece.

A block of 4 bytes may stand for 128 KiB, and the library gives out all that its input holds. The headers of the blocks
tell how much that is: so they are read here, and the library gets whole blocks, few at a time.

Source: RFC 8878, section 3.1.1 (Zstandard frames).
"""

from __future__ import annotations

_BLOCK_MAX = 128 << 10
_RAW, _RLE = 0, 1
# The magic number and the descriptor; it tells the size of the rest of the header.
_FRAME_HEADER = 5
_BLOCK_HEADER = 3
# Optional parts of a frame's header, by the bits of its descriptor.
_DICTIONARY_ID = (0, 1, 2, 4)
_CONTENT_SIZE = (0, 2, 4, 8)
# What follows the last block, or the header of a frame that is skipped, has no blocks and gives no output.
_REST = 1 << 63
# To read one header of a block takes as long as to give the library this many bytes. A frame with many blocks that are
# smaller is cut without a look at them: so short a part cannot become more than 32 MiB.
_SMALL = 1 << 10
_SMALL_BLOCKS_MAX = 1000


class ZstdBlocks:
    """The headers of one frame, read as it comes in."""

    def __init__(self) -> None:
        self._header = b""  # what has come in of the header at hand
        self._header_size = _FRAME_HEADER
        self._body = 0  # bytes to come until the next header
        self._small_blocks = 0

    def end_of_piece(self, data: bytes, at: int, limit: int) -> int:
        """Return the end of those bytes of `data` from `at` that become at most about `limit` bytes.

        Each call must go on where the one before ended.
        """
        if self._small_blocks > _SMALL_BLOCKS_MAX:
            return min(at + _SMALL, len(data))
        plain = _BLOCK_MAX if self._body else 0
        while at < len(data):
            if self._body:
                passed = min(self._body, len(data) - at)
                self._body -= passed
                at += passed
                continue
            if plain + _BLOCK_MAX > limit or self._small_blocks > _SMALL_BLOCKS_MAX:
                break
            taken = data[at : at + self._header_size - len(self._header)]
            self._header += taken
            at += len(taken)
            if len(self._header) == self._header_size:
                plain += self._frame_header() if self._header_size == _FRAME_HEADER else self._block_header()
                self._header = b""
                self._header_size = _BLOCK_HEADER
        return at

    def _frame_header(self) -> int:
        if self._header[1:4] == b"\x2a\x4d\x18":
            self._body = _REST  # a skippable frame
            return 0
        descriptor = self._header[4]
        single_segment = descriptor >> 5 & 1
        content_size = _CONTENT_SIZE[descriptor >> 6] or single_segment
        self._body = (1 - single_segment) + _DICTIONARY_ID[descriptor & 3] + content_size
        return 0

    def _block_header(self) -> int:
        """Return the most bytes that the block becomes."""
        header = int.from_bytes(self._header, "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        self._body = _REST if last else 1 if kind == _RLE else size
        if size < _SMALL:
            self._small_blocks += 1
        return size if kind in (_RAW, _RLE) else _BLOCK_MAX
