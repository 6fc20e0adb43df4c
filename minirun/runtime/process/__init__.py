"""What belongs to a container's process: limits, terminal, security labels, hooks."""
