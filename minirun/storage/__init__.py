"""Images on disk: layers by their content, what names point to them, and the archives that they come from.

images.py       find an image, what a container mounts of it, names; on the path of `minirun run`
ingest.py       work in progress: what a killed command leaves, and how the next one cleans it up
load.py         `docker save`, `podman save` and `skopeo copy` archives into the store
rootfs.py       one plain tar into an image
sources.py      members of such an archive or directory, by name
layers.py       one layer: read, decompress, hash and unpack at once
unpack.py       a tar onto the disk, in overlayfs's form, never outside its directory
tar.py          the tar formats: ustar, pax, GNU
recipe.py       what a tar held besides the files' content, so that the very same tar can be written again
compression.py  gzip, zstd, xz and bzip2 as streams, with a limit to how much they may grow
"""
