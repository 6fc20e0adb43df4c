"""The only place that touches the kernel.

Every system call that makes a container, every netlink message, firewall rule and write to /proc, /sys or cgroupfs goes
through a function of this package that carries `@operation`. Because everything passes this one point, the making of a
container can be watched, explained and tested without a line of clutter elsewhere.
"""
