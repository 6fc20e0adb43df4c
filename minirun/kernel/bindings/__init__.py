"""What cffi compiles when the package is built: calls for which Python has no function. See setup.py."""
