"""Loads the fixtures of `support/`, which has a file for each subject, and settings for all tests."""

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
    "support.certificates",
    "support.small_store",
]

# How long one example takes says more about the machine's other load than about the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
