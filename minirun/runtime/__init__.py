"""The OCI core: a bundle in, a container out.

Read `lifecycle` first (what a caller can ask for), then in create/ `container` (what a container consists of), `parent`
(the host's side), `protocol` (how the two sides talk) and `child` (the container's side, a table of contents of what
makes a container).
"""
