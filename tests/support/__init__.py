"""What the tests stand on: fixtures by subject, which tests/conftest.py loads as plugins of pytest."""
