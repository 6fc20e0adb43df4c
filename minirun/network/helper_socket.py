"""Where the network helper listens, and how much a packet holds: what its clients know without importing it."""

from __future__ import annotations

from minirun.network.reconcile import netns_inode

# One packet holds one request or one trace event; the kernel's own limit (net.core.wmem_default) is 208 KiB.
PACKET_BYTES = 256 * 1024


def socket_path(directory: int) -> str:
    """Return the path of this network namespace's socket in the directory behind a file descriptor.

    By the way of /proc/self/fd, because a socket's address holds 107 characters only (unix(7)).
    """
    return f"/proc/self/fd/{directory}/helper-{netns_inode()}.sock"
