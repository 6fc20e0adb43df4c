"""One layer: from a compressed tar, which nobody trusts, to a tree of files, and back to the same bytes."""
