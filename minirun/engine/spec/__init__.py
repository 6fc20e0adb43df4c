"""From the options of `run` to the config.json of an OCI bundle."""
