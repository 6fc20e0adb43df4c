"""Volumes as Docker means them: made, listed, filled, mounted, removed."""
