"""`builder prune`: what builds remember goes."""

from __future__ import annotations

from minirun.cli.grammar import Verb, many, switch
from minirun.cli.output.prune import agreed, tell_removed, tell_space
from minirun.engine.prune_filters import PruneFilters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call


def prune(call: Call) -> None:
    """Forget the steps of builds that no image has, or all with -a, and the directories of RUN --mount=type=cache.

    The next build does these steps anew.
    """
    from minirun.engine.prune import prune_build_cache

    layout = call.swept_layout()
    filters = PruneFilters.parse(call.many("filter"))
    everything = call.switch("all")
    if not agreed(call, f"WARNING! This will remove all {'' if everything else 'dangling '}build cache."):
        return
    removed, freed = prune_build_cache(layout, filters, everything=everything)
    tell_removed("Deleted build cache objects:", removed)
    tell_space(freed)


VERBS = {
    "builder prune": Verb(
        prune,
        (
            switch("-a/--all", "Also what images are made of."),
            switch("-f/--force", "Do not ask."),
            many("--filter", "until=..."),
        ),
        summary="Forget what builds have made",
    )
}
