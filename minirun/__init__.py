"""minirun: a container runtime that teaches, built on Linux's own primitives."""

__version__ = "0.1.0"
