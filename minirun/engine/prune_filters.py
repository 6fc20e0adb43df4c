"""The filters of every `prune`: which of what is not used may go."""

from __future__ import annotations

import time

from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class PruneFilters:
    """`label=KEY[=VALUE]`, `label!=KEY[=VALUE]` and `until=TIME`, a duration before now or RFC 3339; all must hold."""

    def __init__(self, wanted: dict[str, list[str]]) -> None:
        self._wanted = wanted

    @classmethod
    def parse(cls, texts: Iterable[str]) -> PruneFilters:
        """Read KEY=VALUE texts. Raises MinirunError for one that is unknown."""
        wanted: dict[str, list[str]] = {}
        for text in texts:
            key, equals, value = text.partition("=")
            if not equals or key not in ("label", "label!", "until"):
                hint = "Filters are label=KEY[=VALUE], label!=... and until=TIME."
                raise MinirunError(f"invalid filter '{text}'", hint)
            wanted.setdefault(key, []).append(value)
        return cls(wanted)

    @property
    def ask_for_time(self) -> bool:
        """Say whether there is a limit of age."""
        return "until" in self._wanted

    def allow(self, labels: Mapping[str, str], created_at: float) -> bool:
        """Say whether something with these labels that was made then, in seconds since the epoch, may go."""
        return (
            all(created_at <= _moment(until) for until in self._wanted.get("until", ()))
            and all(has_label(labels, label) for label in self._wanted.get("label", ()))
            and not any(has_label(labels, label) for label in self._wanted.get("label!", ()))
        )


EVERYTHING = PruneFilters({})
"""No filter at all."""


def has_label(labels: Mapping[str, str], wanted: str) -> bool:
    """Say whether labels have KEY or KEY=VALUE."""
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def _moment(text: str) -> float:
    from minirun.engine.durations import duration_ns

    return seconds_of(text) or time.time() - duration_ns(text) / 1e9


def seconds_of(text: str) -> float:
    """Read RFC 3339, "2024-05-01T12:00:00.123456789Z", as seconds since the epoch; 0.0 for what is not a time."""
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
