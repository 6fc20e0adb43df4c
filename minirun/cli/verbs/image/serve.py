"""`registry serve`: the store's images for others to pull."""

from __future__ import annotations

from minirun.cli.grammar import FlagError, Verb, text
from minirun.cli.streams import say
from minirun.errors import warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call

_LISTEN = "127.0.0.1:5000"


def serve(call: Call) -> None:
    """Serve the images of this machine to others as a registry does, for pulling only, until Ctrl-C.

    minirun, Docker, Podman and containerd pull from it. Every image with a name is served, under its name without the
    registry: example.org/class/web:1 is class/web:1. The layers are compressed when an image is first pulled, into
    files that are gone when the server ends.

    Without TLS, Docker pulls from another machine only if its insecure-registries name it, Podman and ctr if they are
    told so: --tls-verify=false, --plain-http.
    """
    from minirun.engine.image import serving
    from minirun.kernel.session.interrupt import interruptible

    certificate, key, htpasswd = call.text("tls-cert"), call.text("tls-key"), call.text("htpasswd")
    if bool(certificate) != bool(key):
        raise FlagError("--tls-cert and --tls-key are given together")

    def ready(place: str, is_local: bool, names: serving.ServedNames) -> None:
        if htpasswd and not certificate and not is_local:
            warn("passwords come over the network in the clear; --tls-cert and --tls-key keep them secret")
        count = len(names.images())
        name = next(iter(names.repositories()), "NAME")
        tags = names.tags(name)
        example = name if "latest" in tags or not tags else f"{name}:{max(tags)}"
        scheme = "https" if certificate else "http"
        images = "1 image" if count == 1 else f"{count} images"
        say(f"Serving {images} at {scheme}://{place}; pull with: minirun pull {place}/{example}")

    with interruptible():
        serving.serve(call.host_layout(), call.text("listen", _LISTEN), certificate, key, htpasswd, ready)


VERBS = {
    "registry serve": Verb(
        serve,
        (
            text("--listen", f"Address and port; without an address, all of them.  [default: {_LISTEN}]"),
            text("--tls-cert", "Speak TLS with this certificate, and those above it (PEM)."),
            text("--tls-key", "The certificate's key (PEM)."),
            text("--htpasswd", "Let only users of this file pull, as 'htpasswd -B' writes it."),
        ),
        summary="Serve the images of this machine to a class",
        examples=(("minirun registry serve --listen 0.0.0.0:5000", "others: minirun pull THIS-MACHINE:5000/NAME"),),
    )
}
