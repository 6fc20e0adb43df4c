"""Archives of images, as docker, podman and skopeo write them: which images are in there, and which of them is for
here."""
