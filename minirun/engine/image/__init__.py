"""Images as `docker` users know them: names, what to run on this machine, commits, tags."""
