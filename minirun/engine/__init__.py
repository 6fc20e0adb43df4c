"""Docker's meaning: what run, create, stop, a volume, a log are, made of storage, runtime and network."""
