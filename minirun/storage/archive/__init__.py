"""Archives of images, as docker, podman and skopeo write them: which images they hold, and which are for this host."""
