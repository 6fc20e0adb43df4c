"""The verbs about networks."""
