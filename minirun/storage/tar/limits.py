"""How much an image archive may ask for: all limits of the readers of archives, in one place.

The author of an archive is not trusted, and compression can turn a megabyte into a gigabyte. Hence two rules:

- Memory does not grow with the archive. What is kept while it streams by is counted here; the largest part is the
  window of a decompressor.
- Time grows with the bytes of the archive at no more than the rate of honest small files, and these are counted.

Numbers are bytes unless they say otherwise. Nothing that other programs write comes near one of them.
"""

from __future__ import annotations

# -- compression -------------------------------------------------------------------------------------------------------
# What a decompressor may keep: the window that `zstd -d` accepts as well, and twice what `xz -9` needs.
WINDOW_MAX = 128 << 20
# A file system seldom shrinks to less than a tenth; a gzip bomb does to a thousandth. Small ones may: they do no harm.
RATIO_MAX = 200
RATIO_FROM = 1 << 30
# Streams in a row are one (bgzip, pigz, eStargz). Each costs 10 us, however empty it is; eStargz begins one for each
# member of the tar, of at least a block. So there may be this many, and one more for each block that came out.
STREAMS_MAX = 1024
BYTES_PER_STREAM = 512
# What must stay free on the disk of the store while an archive is unpacked.
FREE_SPACE_MIN = 64 << 20

# -- tar ---------------------------------------------------------------------------------------------------------------
# One header extension: a pax header, a GNU long name. Go's archive/tar, and so Docker, has the same limit.
EXTENSION_MAX = 1 << 20
# Records of global pax headers that mean anything to a layer. They count for each entry that follows, and what writes
# them at all (git archive, GNU tar) writes one or two.
GLOBAL_RECORDS_MAX = 64
# PATH_MAX of the kernel (limits.h), which includes the NUL at the end: no longer name can be opened.
NAME_MAX = 4095
# XATTR_LIST_MAX of the kernel (xattr(7)): the names of a file's attributes, each with a NUL, that it can list.
ATTRIBUTE_NAMES_MAX = 1 << 16
# Parts of a sparse file. Go's archive/tar takes a map of 1 MiB, which holds about as many.
SPARSE_SEGMENTS_MAX = 1 << 17
# Entries of one tar, and the directories that their names imply. The largest layers have about a million.
ENTRIES_MAX = 1 << 22

# -- image archives ----------------------------------------------------------------------------------------------------
# manifest.json, index.json, manifests, configs: what a registry must take (distribution-spec, "Pushing Manifests").
DOCUMENT_MAX = 4 << 20
# Values in one document, counted before it is read: as Python objects, they take up to a hundred bytes each.
DOCUMENT_VALUES_MAX = 200_000
# How deep they may be nested; a config needs five levels. Go stops at 10,000, Python's own JSON somewhere below 1,000.
DOCUMENT_DEPTH_MAX = 64
# All manifests, indexes and configs that are read to choose by platform, of which each counts this much more than its
# bytes: indexes may lead to the same ones again and again.
DOCUMENTS_MAX = 64 << 20
DOCUMENT_COST = 512
# From index to index to manifest.
INDEX_DEPTH_MAX = 8
# Members of an archive, and all bytes of their names: `docker save` writes four for each layer, of 80 bytes.
MEMBERS_MAX = 1 << 17
MEMBER_NAMES_MAX = 16 << 20
# Images of one archive.
IMAGES_MAX = 1024
