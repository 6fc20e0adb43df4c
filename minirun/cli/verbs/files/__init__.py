"""The verbs about the files of containers."""
