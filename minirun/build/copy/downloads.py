"""What ADD gets from the web."""

from __future__ import annotations

import calendar
import os
import posixpath
import time
from urllib.parse import unquote, urlsplit

from urllib3.exceptions import HTTPError

from minirun.build.dockerfile.error import DockerfileError
from minirun.kernel.hostfiles import open_nameless, write_all
from minirun.registry.failures import RegistryError, shown
from minirun.registry.http.transport import Transport, reason_of

_PIECE = 256 << 10
_OK = 200
_HTTP_DATE = "%a, %d %b %Y %H:%M:%S GMT"


def fetch(url: str, directory: str) -> tuple[int, str, int]:
    """Download a file into one without a name in `directory`; return it, its name, and its time in nanoseconds.

    The name is the last part of the URL's path; the time is what the server says, or 0. Raises DockerfileError.
    """
    name = posixpath.basename(unquote(urlsplit(url).path))
    transport = Transport()
    file = open_nameless(directory)
    try:
        response = transport.send("GET", url)
        if response.status != _OK:
            raise DockerfileError(f"failed to load {shown(url)}: invalid response status {response.status}")
        for piece in response.stream(_PIECE):
            write_all(file, piece)
        stated = response.headers.get("Last-Modified") or ""
        transport.finish(response)
    except (RegistryError, HTTPError, OSError) as error:
        os.close(file)
        reason = error.message if isinstance(error, RegistryError) else reason_of(error)
        raise DockerfileError(f"failed to load {shown(url)}: {reason}", "Is this machine connected?") from None
    except BaseException:
        os.close(file)
        raise
    finally:
        transport.close()
    return file, name if name not in ("", ".", "..") else "download", _nanoseconds(stated)


def _nanoseconds(text: str) -> int:
    """Read an HTTP date (RFC 9110, 5.6.7); 0 for none."""
    try:
        return calendar.timegm(time.strptime(text, _HTTP_DATE)) * 1_000_000_000
    except ValueError:
        return 0
