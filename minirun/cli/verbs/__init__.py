"""The verbs of `minirun`: a file for each, or for a few that belong together, with their tables of flags.

`table` says which file has which verb.
"""
