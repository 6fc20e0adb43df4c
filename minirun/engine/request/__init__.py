"""What `run` and `create` are asked for: from options as they were typed to a checked request."""
