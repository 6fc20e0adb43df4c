"""`explain`: the chapters behind the steps that `--explain` shows."""

from __future__ import annotations

from minirun.cli.grammar import Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call


def explain(call: Call) -> None:
    """Explain a TOPIC of the steps that --explain shows; without one, list them."""
    from minirun.explain.topics import CHAPTERS, chapter

    if not call.arguments:
        for name, about in CHAPTERS.items():
            print(f"{name:<14}{about.title}")
        print("\nRead one with 'minirun explain TOPIC'; see them at work with 'minirun --explain run ...'.")
        return
    about = chapter(call.arguments[0])
    print(f"{about.title}\n\n{about.text}\n\nRead on: {about.man}\nTry:     {about.attempt}")


VERBS = {
    "explain": Verb(
        explain,
        (),
        "[TOPIC]",
        summary="Explain a topic of the steps that --explain shows",
        examples=(("minirun --explain run --rm busybox true", "see the steps at work"),),
    )
}
