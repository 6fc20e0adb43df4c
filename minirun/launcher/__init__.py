"""How the executables start fast: every module out of one file, behind a small C program."""
