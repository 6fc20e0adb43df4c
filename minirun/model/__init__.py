"""What the parts of minirun talk about: frozen values without input or output.

Nothing here opens a file or makes a system call, so every other package may import it.
"""
