"""Containers as `docker` users know them: records, names, what to ask of them and what they answer."""
