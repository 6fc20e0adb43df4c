"""The Dockerfile language, in stages of a file each: text, directives, lines, heredocs, flags and forms, instructions.

Everything here is a pure function from text to frozen values. The source is the Dockerfile reference; where it is
silent, what BuildKit does counts. `parse.py` is the way in, `instructions.py` says what comes out.
"""
