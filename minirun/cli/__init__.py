"""Thin commands: flags in, a call of the engine, Docker's output and exit codes out."""
