"""Loads what the tests stand on, and settings for all of them: `support/` has the fixtures, a file for each subject."""

from __future__ import annotations

from hypothesis import settings

pytest_plugins = [
    "support.lab_vm",
    "support.host",
    "support.commands",
    "support.images",
    "support.terminal",
    "support.leftovers",
    "support.bundles",
]

# How long one example takes says more about what else runs on the machine than about the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
