"""The cgroup of a container: which one, its limits, its devices, its counters, for cgroup v2, v1 and systemd."""
