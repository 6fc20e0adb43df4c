"""One step of a stream in a thread of its own, ahead of the one that takes its pieces.

hashlib, zlib, zstd and file reads let go of Python's global lock, so a chain of such steps keeps several processors
busy.
"""

from __future__ import annotations

import queue
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_WAITING_MAX = 2


def read_ahead(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Give the same pieces, of which up to 2 are made before they are asked for. Raises what `pieces` raises.

    The thread has ended when this generator has, also when it is closed before its end; `pieces` is closed then.
    """
    waiting: queue.Queue[bytes | BaseException | None] = queue.Queue(_WAITING_MAX)
    stopped = threading.Event()

    def read() -> None:
        try:
            for piece in pieces:
                waiting.put(piece)
                if stopped.is_set():
                    break
            waiting.put(None)
        except BaseException as error:  # noqa: BLE001 - it is raised where the pieces are taken
            waiting.put(error)
        finally:
            if stopped.is_set() and hasattr(pieces, "close"):
                pieces.close()

    thread = threading.Thread(target=read, name="read ahead", daemon=True)
    thread.start()
    try:
        while (piece := waiting.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece
    finally:
        stopped.set()
        while thread.is_alive():
            try:
                waiting.get_nowait()  # the thread may stand before a full queue
            except queue.Empty:
                thread.join(0.005)
