"""A container's root file system: mounts, devices, masked paths, and the change of root."""
