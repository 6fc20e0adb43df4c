"""Help, completion, and advice after mistakes. click is imported here alone, and only when somebody asks for help."""
