"""Connections to registries."""
