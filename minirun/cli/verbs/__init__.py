"""The verbs of `minirun` that click reads: a file for each group of them. `main` says which is where."""
