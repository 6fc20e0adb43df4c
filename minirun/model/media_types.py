"""Media types: what a manifest, an index, a config and a layer are called.

Source: image-spec media-types.md; Docker's own are those of its "Image Manifest V 2, Schema 2".
"""

from __future__ import annotations

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"

INDEXES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG})
# How the types of layers begin; what follows is the compression.
LAYERS = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")
# Schema 1, Docker's before 2016: signed, and without a config.
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+"
# Layers that only their vendor may distribute: Windows' base layers.
FOREIGN = (".nondistributable.", ".foreign.")
# What a registry is told that its client understands.
ACCEPTED = ", ".join((DOCKER_MANIFEST, DOCKER_INDEX, OCI_MANIFEST, OCI_INDEX))
