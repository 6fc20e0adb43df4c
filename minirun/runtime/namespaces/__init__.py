"""The namespaces of a container: fresh ones and joined ones, id mappings, network devices."""
