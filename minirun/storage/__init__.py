"""Images on disk: layers by their content, what names point to them, and the archives that they come from.

images.py       find an image, what a container mounts of it, names; on the path of `minirun run`
ingest.py       work in progress: what a killed command leaves, and how the next one cleans it up
layers.py       one layer: read, decompress, hash and unpack at once
layer_out.py    one layer as a tar again, and as a compressed blob
manifest_out.py an image's manifest, made anew
rootfs.py       one plain tar into an image
store.py        what is added, named, counted and removed
archive/        `docker save`, `podman save` and `skopeo copy` archives into the store, and `save` out of it
tar/            one layer's tar: its formats, its compression, its limits, and how it gets onto the disk
"""
