"""`load` and `import`: into the store."""

from __future__ import annotations

import sys
import time

from minirun.cli.grammar import Verb, many, switch, text
from minirun.cli.output.words import decimal_size
from minirun.cli.streams import say
from minirun.errors import MinirunError, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

    from minirun.cli.call import Call
    from minirun.storage.progress import Progress

_PROGRESS_AFTER = 0.5


def load(call: Call) -> None:
    """Load images that `docker save`, `podman save` or `skopeo copy` have written.

    The archive may be a tar, plain or compressed with gzip, zstd, xz or bzip2, or a directory with an OCI layout.
    """
    from minirun.storage.archive.found import Skipped
    from minirun.storage.archive.load import load as load_archive

    layout = call.swept_layout()
    path = call.text("input", "-")
    if path == "-" and sys.stdin.isatty():
        raise MinirunError(
            "requested load from stdin, but stdin is empty", "Name an archive with -i FILE.", exit_code=1
        )
    progress = _progress(call.switch("quiet"))
    try:
        for loaded in load_archive(layout, path, progress):
            progress.finish()
            if isinstance(loaded, Skipped):
                warn(f"skipped {loaded.name}: {loaded.reason}")
                continue
            for name in loaded.names:
                say(f"Loaded image: {name.familiar}")
            if not loaded.names:
                say(f"Loaded image ID: {loaded.image.id}")
    finally:
        progress.finish()


def import_(call: Call) -> None:
    """Make an image of one layer from a tar, compressed or not, and print its id.

    Each --change is an instruction such as 'CMD ["/bin/sh"]', 'ENV A=b' or 'EXPOSE 80'.
    """
    from minirun.build.changes import apply_changes
    from minirun.engine.image import images

    layout = call.swept_layout()
    path, *name = call.arguments
    config = apply_changes({}, call.many("change"))
    progress = _progress(call.switch("quiet"))
    try:
        image = images.import_image(layout, path, "".join(name), config, call.text("message"), progress)
    finally:
        progress.finish()
    say(image.id)


def _progress(quiet: bool) -> Progress:
    from minirun.storage.progress import Progress

    return Progress() if quiet or not sys.stderr.isatty() else _terminal_progress()


def _terminal_progress() -> Progress:
    """Progress bars on standard error, for loads that take long enough to make somebody wonder."""
    from minirun.storage.progress import Progress

    class TerminalProgress(Progress):
        def __init__(self) -> None:
            self._began = time.monotonic()
            self._bar: ProgressBar[int] | None = None
            self._name, self._size, self._done = "", 0, 0

        def layer(self, name: str, size: int) -> None:
            self.finish()
            self._name, self._size, self._done = name, size, 0

        def advance(self, size: int) -> None:
            self._done += size
            if self._bar:
                self._bar.update(size, self._done)
            elif time.monotonic() - self._began > _PROGRESS_AFTER:
                self._bar = _bar(self._name, self._size)
                self._bar.update(self._done, self._done)

        def finish(self) -> None:
            if self._bar:
                self._bar.render_finish()
                self._bar = None

    return TerminalProgress()


def _bar(name: str, size: int) -> ProgressBar[int]:
    """Return a bar for `size` bytes; a size of 0 is not known."""
    import click  # for a load that somebody waits for

    return click.progressbar(
        (_ for _ in range(0)),  # without a length of its own
        length=size or None,
        label=name,
        show_percent=False,
        item_show_func=lambda done: None if done is None else decimal_size(done),
        file=sys.stderr,
    )


_QUIET = switch("-q/--quiet", "Show no progress.")
VERBS = {
    "load": Verb(
        load,
        (text("-i/--input", "Archive or OCI layout directory; default: stdin."), _QUIET),
        summary="Load images from an archive or directory",
        examples=(("docker save nginx | minirun load", "an image from Docker"),),
    ),
    "import": Verb(
        import_,
        (many("-c/--change", "A Dockerfile instruction."), text("-m/--message", "Comment of the image."), _QUIET),
        "FILE|- [NAME[:TAG]]",
        summary="Make an image from a tar of a file system",
        examples=(("tar -C rootfs -c . | minirun import -c 'CMD [\"sh\"]' - own:1", "an image from a directory"),),
    ),
}
