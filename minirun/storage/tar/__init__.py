"""One layer: from a compressed tar, which is not trusted, to a tree of files, and back to the same bytes."""
