"""The version of the runtime specification, for those who need no more of it."""

from __future__ import annotations

OCI_VERSION = "1.3.0"  # the newest that this runtime carries out
