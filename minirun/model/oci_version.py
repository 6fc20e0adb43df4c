"""The version of the runtime specification, in a module that imports nothing."""

from __future__ import annotations

OCI_VERSION = "1.3.0"  # the newest that this runtime implements
