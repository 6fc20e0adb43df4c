"""Where minirun keeps its files: every path of the store and of the run-time state is defined here and nowhere else."""

from __future__ import annotations

from minirun.model.record import Record

DEFAULT_ROOT = "/var/lib/minirun"
DEFAULT_STATE = "/run/minirun"


class Layout(Record):
    """The two directories of an installation: `root` outlives a reboot, `state` (a tmpfs) does not."""

    root: str = DEFAULT_ROOT
    state: str = DEFAULT_STATE

    # -- images: content-addressed, shared ---------------------------------------------------------------------------
    @property
    def blobs(self) -> str:
        """Compressed layers, configs and manifests by digest: blobs/sha256/HEX."""
        return f"{self.root}/blobs"

    @property
    def layers(self) -> str:
        """Unpacked layers by diff_id, in overlayfs's own form."""
        return f"{self.root}/layers"

    @property
    def layer_links(self) -> str:
        """Short names of unpacked layers: a page of mount options holds 127 of them."""
        return f"{self.root}/layers/l"

    @property
    def ingest(self) -> str:
        """One directory per load or removal in progress; what a killed one leaves behind is found here."""
        return f"{self.root}/ingest"

    @property
    def images(self) -> str:
        """What names point to which image, and each image's record."""
        return f"{self.root}/images"

    @property
    def cache(self) -> str:
        """What can be made again at any time: compiled seccomp filters."""
        return f"{self.root}/cache"

    @property
    def build_cache(self) -> str:
        """What builds have made: a record for each step, and the directories of `RUN --mount=type=cache`."""
        return f"{self.root}/build-cache"

    @property
    def reserve(self) -> str:
        """A file that is deleted when a full disk leaves no room to remove anything else."""
        return f"{self.root}/reserve"

    @property
    def networks(self) -> str:
        """One JSON file for each network that a user has made, by its name."""
        return f"{self.root}/networks"

    @property
    def volumes(self) -> str:
        return f"{self.root}/volumes"

    # -- containers: what stays until `rm` ---------------------------------------------------------------------------
    @property
    def containers(self) -> str:
        return f"{self.root}/containers"

    @property
    def names(self) -> str:
        """One symbolic link per container name, to the id: making it is what claims the name."""
        return f"{self.root}/names"

    def container(self, container_id: str) -> str:
        """The container's directory: record.json, exit.json, container.log, upper, work, hosts, hostname,
        resolv.conf."""
        return f"{self.containers}/{container_id}"

    # -- run-time state: what exists only while a container runs -----------------------------------------------------
    @property
    def bundles(self) -> str:
        """One OCI bundle per running container."""
        return f"{self.state}/bundles"

    def bundle(self, container_id: str) -> str:
        """config.json, rootfs (the overlay's target), monitor.lock and attach.sock of a running container."""
        return f"{self.bundles}/{container_id}"

    @property
    def runtime(self) -> str:
        """The OCI runtime's own state, as `minirun-oci --root` has it."""
        return f"{self.state}/runtime"

    @property
    def oci(self) -> str:
        """The same for what others start by `minirun-oci`, where they name no `--root`."""
        return f"{self.state}/oci"

    @property
    def network(self) -> str:
        """Address leases, port reservations and the network helper's socket."""
        return f"{self.state}/network"
