"""What is tried again, and how long to wait before it."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# Too many requests, and what a server says that is overloaded or being restarted (RFC 9110, RFC 6585).
RETRIED = frozenset({429, 500, 502, 503, 504})
ATTEMPTS = 5
FIRST_WAIT = 0.25
"""Seconds; each further wait is twice as long."""
LONGEST_WAIT = 60.0
"""Seconds that a server may ask for; what asks for more is an error at once."""


def wait_before(attempt: int, headers: Mapping[str, str] | None = None, first: float = FIRST_WAIT) -> float:
    """Return the seconds to wait after so many attempts: what the server asks for, or ever more."""
    asked = _retry_after((headers or {}).get("Retry-After") or "")
    return asked if asked is not None else first * float(2 ** (attempt - 1))


def _retry_after(text: str) -> float | None:
    """Read the header: seconds, or a date (RFC 9110, section 10.2.3)."""
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        then = time.strptime(text, "%a, %d %b %Y %H:%M:%S GMT")
    except ValueError:
        return None
    import calendar

    return max(0.0, calendar.timegm(then) - time.time())
