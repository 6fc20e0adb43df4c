"""Fixtures by subject, which tests/conftest.py loads as plugins of pytest, and helpers."""
