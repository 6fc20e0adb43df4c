"""What ADD gets from the web."""

from __future__ import annotations

import os
import posixpath
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from minirun.build.dockerfile.error import DockerfileError
from minirun.kernel.hostfiles import open_nameless, write_all

_PIECE = 256 << 10
_TIMEOUT = urllib3.Timeout(connect=30, read=60)
_OK = 200


def fetch(url: str, directory: str) -> tuple[int, str, int]:
    """Download a file into one without a name in `directory`; return it, its name, and its time in nanoseconds.

    The name is the last part of the URL's path; the time is what the server says, or 0. Raises DockerfileError.
    """
    shown = urlsplit(url)._replace(query="", fragment="").geturl()
    name = posixpath.basename(unquote(urlsplit(url).path))
    if not name or name in (".", ".."):
        name = "download"
    file = open_nameless(directory)
    try:
        with urllib3.PoolManager(timeout=_TIMEOUT, retries=3) as pool:
            response = pool.request("GET", url, preload_content=False)
            if response.status != _OK:
                raise DockerfileError(f"failed to load {shown}: invalid response status {response.status}")
            for piece in response.stream(_PIECE):
                write_all(file, piece)
            stated = response.headers.get("Last-Modified") or ""
            response.release_conn()
    except (HTTPError, OSError) as error:
        os.close(file)
        reason = getattr(error, "reason", error)
        raise DockerfileError(f"failed to load {shown}: {reason}", "The build needs the network for this.") from None
    except BaseException:
        os.close(file)
        raise
    return file, name, _time(stated)


def _time(text: str) -> int:
    """Read an HTTP date; 0 for none."""
    try:
        return int(parsedate_to_datetime(text).timestamp()) * 1_000_000_000
    except (TypeError, ValueError):
        return 0
