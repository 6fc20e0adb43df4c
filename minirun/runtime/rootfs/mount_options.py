"""The words of a mount's options, sorted by the system call that applies them, and applied to a detached mount.

Source: runtime-spec config.md, "Linux mount options".
"""

from __future__ import annotations

from minirun.kernel.mount import (
    ATTRIBUTES,
    CLEARS_FLAG,
    MS_BIND,
    MS_REC,
    PROPAGATION,
    RECURSIVE_ATTRIBUTES,
    SETS_FLAG,
    set_attributes,
)
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.spec import MountSpec

IDMAP_OPTIONS = ("idmap", "ridmap")
# Of crun, for bind mounts, and used by Podman: a link as source or destination is not followed; one as source is
# copied in place of a mount.
LINK_OPTIONS = ("src-nofollow", "dest-nofollow", "copy-symlink")
# An annotation of crun: which option takes linux.mountLabel, as mount(8) has four of them ("context=").
CONTEXT_ANNOTATION = "run.oci.mount_context_type"


class Options(Record):
    """The words of a mount's options, sorted by the system call that applies them.

    `flags` are those of mount(2); `attributes` and `cleared` are MOUNT_ATTR_* of the one mount, `recursive` pairs of
    them for all mounts below, too; `propagation` is in the order given; `data` are the file system's own words;
    `extensions` are those of LINK_OPTIONS.
    """

    flags: int = 0
    attributes: int = 0
    cleared: int = 0
    recursive: tuple[tuple[int, int], ...] = ()
    propagation: tuple[int, ...] = ()
    data: tuple[str, ...] = ()
    copy_up: bool = False
    idmap: str = ""
    extensions: frozenset[str] = frozenset()

    @property
    def is_bind(self) -> bool:
        """Whether an existing tree is shown, rather than a file system made."""
        return bool(self.flags & MS_BIND)


def parse_options(entry: MountSpec) -> Options:
    """Sort the words of a mount's options (config.md, "Linux mount options"); later words win."""
    flags, attributes, cleared, copy_up, idmap = 0, 0, 0, False, ""
    recursive, propagation, extensions = [], [], []
    data: list[str] = []
    for word in entry.options:
        if word in ATTRIBUTES:
            set_, clear = ATTRIBUTES[word]
            attributes = attributes & ~clear | set_
            cleared = cleared & ~set_ | clear
        if word in SETS_FLAG:
            flags |= SETS_FLAG[word]
        elif word in CLEARS_FLAG:
            flags &= ~CLEARS_FLAG[word]
        elif word in PROPAGATION:
            propagation.append(PROPAGATION[word])
        elif word in RECURSIVE_ATTRIBUTES:
            recursive.append(RECURSIVE_ATTRIBUTES[word])
        elif word == "tmpcopyup":
            copy_up = True
        elif word.partition("=")[0] in IDMAP_OPTIONS:
            idmap = word.partition("=")[0]
        elif word in LINK_OPTIONS:
            extensions.append(word)
        else:
            # mount(2) takes several in one, and empty ones, which Podman 5 passes; fsconfig(2) does not.
            data += [word] if '"' in word else filter(None, word.split(","))
    if entry.type == "bind":
        flags |= MS_BIND
    if entry.uid_mappings or entry.gid_mappings:
        idmap = idmap or "idmap"
    return Options(
        flags,
        attributes,
        cleared,
        tuple(recursive),
        tuple(propagation),
        tuple(data),
        copy_up,
        idmap,
        frozenset(extensions),
    )


def set_on_tree(tree: int, options: Options) -> None:
    """Set on a mount, given by its descriptor, what is for all mounts below it, too, and its propagation.

    The order in which propagation was asked for counts. Raises OSError.
    """
    for attributes, cleared in options.recursive:
        set_attributes(tree, attributes, cleared, recursive=True)
    for propagation in options.propagation:
        set_attributes(tree, 0, propagation=propagation & ~MS_REC, recursive=bool(propagation & MS_REC))
