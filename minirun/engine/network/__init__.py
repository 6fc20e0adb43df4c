"""The networks that users make: what `network create` is asked for, and what becomes of it."""
