"""The verbs that handle images."""
