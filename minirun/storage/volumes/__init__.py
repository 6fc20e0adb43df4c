"""Volumes: a directory and a record each."""
