"""The verbs that handle containers."""
