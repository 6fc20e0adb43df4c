"""The verbs about volumes."""
