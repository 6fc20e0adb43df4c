"""What a process inherits from its parent: the terminal, the standard streams, signals, the session."""
