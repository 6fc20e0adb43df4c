"""`volume create`."""

from __future__ import annotations

from minirun.cli.grammar import Verb, many, text
from minirun.cli.streams import say
from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call


def create(call: Call) -> None:
    """Make a volume, and print its name: a random one without VOLUME. One that exists stays as it is.

    The options of the driver say what is mounted as the volume, in the words of mount(8); without them it is a
    directory of minirun's.
    """
    from minirun.engine.spec.environment import labels_from_flags
    from minirun.engine.volume import making
    from minirun.engine.volume.checks import check_driver

    name, given = call.text("name"), "".join(call.arguments)
    if name and given:
        raise MinirunError(
            "conflicting options: cannot specify a volume-name through both --name and as a positional arg"
        )
    name = name or given
    labels = labels_from_flags((), call.many("label"))
    options = {key: value for key, _, value in (word.partition("=") for word in call.many("opt"))}
    check_driver(name, call.text("driver"))
    say(making.create(call.host_layout(), name, labels, options))


VERBS = {
    "create": Verb(
        create,
        (
            text("-d/--driver", "The volume's driver: local.", default="local"),
            many("--label", "Keep a word with the volume."),
            many("-o/--opt", "Option of the driver: type=..., device=..., o=..."),
            text("--name"),
        ),
        "[VOLUME]",
        summary="Make a volume",
        examples=(
            ("minirun volume create data", "for 'minirun run -v data:/var/lib/app ...'"),
            ("minirun volume create -o type=tmpfs -o device=tmpfs -o o=size=64m fast", "in memory, with a limit"),
            ("minirun volume create -o type=none -o device=/srv/www -o o=bind www", "a directory of the host's"),
        ),
    )
}
