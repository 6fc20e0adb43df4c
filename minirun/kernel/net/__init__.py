"""Interfaces, addresses, routes, firewall rules, and the flows that the kernel follows."""
