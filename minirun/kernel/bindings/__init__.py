"""What cffi compiles when the package is built: the calls that Python has no function for. See setup.py."""
