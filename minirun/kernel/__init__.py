"""The only place that touches the kernel.

Every system call that makes a container, every netlink message, firewall rule and write to /proc, /sys or cgroupfs
goes through a function of this package that carries `@operation`. That choke point is what makes it possible to
watch, explain and test a container being made without a line of clutter elsewhere.
"""
