"""What a process has from the one that started it: the terminal, the standard streams, signals, the session itself."""
